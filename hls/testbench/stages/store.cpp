// Test bench of the stage store: beats to their place in the output map, and nowhere else.
#include "store.hpp"

#include "bench.hpp"
#include "data/store.hpp"
#include "schedule.hpp"

using namespace sbfp;

static Word memory[SIM_FMAP_WORDS];

int main() {
    bench::Check check("store");
    for (const Call &call : CALLS) {
        const Layer &layer = LAYERS[call.layer];
        hls::stream<Word> packed;
        bench::put(call.packed, packed);
        bench::put(call.memory_before, memory);
        store(layer, call.tile, call.pass, packed, memory);
        check.expect("memory", memory, call.memory);
    }
    return check.finish();
}
