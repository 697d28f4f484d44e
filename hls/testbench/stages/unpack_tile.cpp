// Test bench of the stage unpack_tile: beats of memory in, words of the map with its padding out.
#include "fetch_tile.hpp"

#include "bench.hpp"
#include "data/unpack_tile.hpp"
#include "schedule.hpp"

using namespace sbfp;

int main() {
    bench::Check check("unpack_tile");
    for (const Call &call : CALLS) {
        const Layer &layer = LAYERS[call.layer];
        hls::stream<Word> fetched;
        hls::stream<Word> unpacked;
        bench::put(call.fetched, fetched);
        unpack_tile(layer, call.tile, call.slice, fetched, unpacked);
        check.expect("unpacked", unpacked, call.unpacked);
    }
    return check.finish();
}
