// Test bench of the stage fetch_weights: what one pass needs of the weight image, or what goes into the queue of weights.
#include "weights.hpp"

#include "bench.hpp"
#include "data/fetch_weights.hpp"

using namespace sbfp;

static Word memory[SIM_WEIGHT_WORDS];

int main() {
    bench::Check check("fetch_weights");
    for (const Call &call : CALLS) {
        hls::stream<Word> fetched;
        bench::put(call.memory, memory);
        hls::stream<Word> pushed;
        fetch_weights(call.where, call.job_row, call.queue_row, memory, fetched, pushed);
        check.expect("fetched", fetched, call.fetched);
        check.expect("pushed", pushed, call.pushed);
    }
    return check.finish();
}
