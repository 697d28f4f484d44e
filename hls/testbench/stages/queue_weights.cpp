// Test bench of the stage queue_weights: beats that are fetched go into the queue, and those of a pass come out of it.
#include "weights_ahead.hpp"

#include "bench.hpp"
#include "data/queue_weights.hpp"

using namespace sbfp;

static Word ahead[WEIGHT_QUEUE];

int main() {
    bench::Check check("queue_weights");
    for (const Call &call : CALLS) {
        hls::stream<Word> pushed;
        hls::stream<Word> popped;
        bench::put(call.pushed, pushed);
        bench::put(call.ahead_before, ahead);
        queue_weights(call.job_row, call.queue_row, pushed, ahead, popped);
        check.expect("popped", popped, call.popped);
        check.expect("ahead", ahead, call.ahead);
    }
    return check.finish();
}
