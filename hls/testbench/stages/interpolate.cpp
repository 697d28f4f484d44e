// Test bench of the stage depthwise_pass, for differences.
#include "depthwise.hpp"

#include "bench.hpp"
#include "data/interpolate.hpp"

using namespace sbfp;

static Word input[BANKS][BANK_ROWS];
static AccWord bias[GROUP_WORDS];
static Word depthwise[DEPTHWISE_STEPS];

int main() {
    bench::Check check("interpolate");
    for (const Call &call : CALLS) {
        hls::stream<AccWord> biases;
        hls::stream<AccWord> sums;
        bench::put(call.input, &input[0][0]);
        bench::put(call.bias, bias);
        bench::put(call.depthwise, depthwise);
        depthwise_pass(call.where, call.job_row, input, bias, depthwise, biases, sums);
        check.expect("biases", biases, call.biases);
        check.expect("sums", sums, call.sums);
    }
    return check.finish();
}
