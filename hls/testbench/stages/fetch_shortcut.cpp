// Test bench of the stage fetch_shortcut: a pass's share of the shortcut's map.
#include "load_shortcut.hpp"

#include "bench.hpp"
#include "data/fetch_shortcut.hpp"

using namespace sbfp;

static Word memory[SIM_FMAP_WORDS];

int main() {
    bench::Check check("fetch_shortcut");
    for (const Call &call : CALLS) {
        hls::stream<Word> fetched;
        bench::put(call.memory, memory);
        fetch_shortcut(call.where, call.job_row, memory, fetched);
        check.expect("fetched", fetched, call.fetched);
    }
    return check.finish();
}
