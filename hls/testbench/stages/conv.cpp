// Test bench of the stage conv_pass, the multiplier array; the partial sums of a word in chunks wait from call to call.
#include "conv.hpp"

#include "bench.hpp"
#include "data/conv.hpp"

using namespace sbfp;

static Word input[BANKS][BANK_ROWS];
static AccWord bias[GROUP_WORDS];
static Word align[WEIGHT_STEPS];
static Word dense[DENSE_ROWS][FILTERS];
static AccWord partial[TILE_BLOCKS][PIXELS];

int main() {
    bench::Check check("conv");
    for (const Call &call : CALLS) {
        hls::stream<AccWord> sums;
        bench::put(call.input, &input[0][0]);
        bench::put(call.bias, bias);
        bench::put(call.align, align);
        bench::put(call.dense, &dense[0][0]);
        conv_pass(call.where, call.job_row, input, bias, align, dense, partial, sums);
        check.expect("sums", sums, call.sums);
    }
    return check.finish();
}
