// Test bench of the stage fetch_shortcut: a pass's share of the shortcut's map.
#include "load_shortcut.hpp"

#include "bench.hpp"
#include "data/fetch_shortcut.hpp"
#include "schedule.hpp"

using namespace sbfp;

static Word memory[SIM_FMAP_WORDS];

int main() {
    bench::Check check("fetch_shortcut");
    for (const Call &call : CALLS) {
        const Layer &layer = LAYERS[call.layer];
        hls::stream<Word> fetched;
        bench::put(call.memory, memory);
        fetch_shortcut(layer, call.tile, call.pass, memory, fetched);
        check.expect("fetched", fetched, call.fetched);
    }
    return check.finish();
}
