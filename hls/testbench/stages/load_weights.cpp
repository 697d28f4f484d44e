// Test bench of the stage load_weights: beats of memory or of the queue in, biases, alignment shifts and unpacked weights out.
#include "weights.hpp"

#include "bench.hpp"
#include "data/load_weights.hpp"

using namespace sbfp;

static AccWord bias[GROUP_WORDS];
static Word align[WEIGHT_STEPS];
static Word dense[DENSE_ROWS][FILTERS];
static Word depthwise[DEPTHWISE_STEPS];

int main() {
    bench::Check check("load_weights");
    for (const Call &call : CALLS) {
        hls::stream<Word> fetched;
        hls::stream<Word> popped;
        bench::put(call.fetched, fetched);
        bench::put(call.popped, popped);
        bench::put(call.bias_before, bias);
        bench::put(call.align_before, align);
        bench::put(call.dense_before, &dense[0][0]);
        bench::put(call.depthwise_before, depthwise);
        load_weights(call.job_row, fetched, popped, bias, align, dense, depthwise);
        check.expect("bias", bias, call.bias);
        check.expect("align", align, call.align);
        check.expect("dense", &dense[0][0], call.dense);
        check.expect("depthwise", depthwise, call.depthwise);
    }
    return check.finish();
}
