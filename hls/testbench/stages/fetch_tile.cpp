// Test bench of the stage fetch_tile: some lines of a tile, beats of memory as they are.
#include "fetch_tile.hpp"

#include "bench.hpp"
#include "data/fetch_tile.hpp"

using namespace sbfp;

static Word memory[SIM_FMAP_WORDS];

int main() {
    bench::Check check("fetch_tile");
    for (const Call &call : CALLS) {
        hls::stream<Word> fetched;
        bench::put(call.memory, memory);
        fetch_tile(call.job_row, memory, fetched);
        check.expect("fetched", fetched, call.fetched);
    }
    return check.finish();
}
