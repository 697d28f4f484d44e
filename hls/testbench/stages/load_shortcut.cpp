// Test bench of the stage load_shortcut: beats of memory in, mantissas in the order of the sums out.
#include "load_shortcut.hpp"

#include "bench.hpp"
#include "data/load_shortcut.hpp"
#include "schedule.hpp"

using namespace sbfp;

int main() {
    bench::Check check("load_shortcut");
    for (const Call &call : CALLS) {
        const Layer &layer = LAYERS[call.layer];
        hls::stream<Word> fetched;
        hls::stream<Word> shortcut;
        bench::put(call.fetched, fetched);
        load_shortcut(layer, call.tile, call.pass, fetched, shortcut);
        check.expect("shortcut", shortcut, call.shortcut);
    }
    return check.finish();
}
