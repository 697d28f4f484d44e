// Test bench of the stage unpack_tile: beats of memory or of on-chip memory in, words of the map with its padding out.
#include "fetch_tile.hpp"

#include "bench.hpp"
#include "data/unpack_tile.hpp"

using namespace sbfp;

int main() {
    bench::Check check("unpack_tile");
    for (const Call &call : CALLS) {
        hls::stream<Word> fetched;
        hls::stream<Word> on_chip;
        hls::stream<Word> unpacked;
        bench::put(call.fetched, fetched);
        bench::put(call.on_chip, on_chip);
        unpack_tile(call.job_row, fetched, on_chip, unpacked);
        check.expect("unpacked", unpacked, call.unpacked);
    }
    return check.finish();
}
