// Test bench of the stage fetch_tile: some lines of a tile, beats of memory as they are.
#include "fetch_tile.hpp"

#include "bench.hpp"
#include "data/fetch_tile.hpp"
#include "schedule.hpp"

using namespace sbfp;

static Word memory[SIM_FMAP_WORDS];

int main() {
    bench::Check check("fetch_tile");
    for (const Call &call : CALLS) {
        const Layer &layer = LAYERS[call.layer];
        hls::stream<Word> fetched;
        bench::put(call.memory, memory);
        fetch_tile(layer, call.tile, call.slice, memory, fetched);
        check.expect("fetched", fetched, call.fetched);
    }
    return check.finish();
}
