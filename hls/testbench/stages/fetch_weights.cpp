// Test bench of the stage fetch_weights: what one pass needs of the weight image.
#include "weights.hpp"

#include "bench.hpp"
#include "data/fetch_weights.hpp"
#include "schedule.hpp"

using namespace sbfp;

static Word memory[SIM_WEIGHT_WORDS];

int main() {
    bench::Check check("fetch_weights");
    for (const Call &call : CALLS) {
        const Layer &layer = LAYERS[call.layer];
        hls::stream<Word> fetched;
        bench::put(call.memory, memory);
        fetch_weights(layer, call.pass, memory, fetched);
        check.expect("fetched", fetched, call.fetched);
    }
    return check.finish();
}
