// Test bench of the stage add_pass, for the product of two maps.
#include "add.hpp"

#include "bench.hpp"
#include "data/multiply.hpp"

using namespace sbfp;

static Word input[BANKS][BANK_ROWS];

int main() {
    bench::Check check("multiply");
    for (const Call &call : CALLS) {
        hls::stream<AccWord> sums;
        bench::put(call.input, &input[0][0]);
        add_pass(call.where, call.job_row, input, sums);
        check.expect("sums", sums, call.sums);
    }
    return check.finish();
}
