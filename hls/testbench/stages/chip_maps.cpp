// Test bench of the stage chip_maps: beats of on-chip memory to the tile that loads and to the next pass, whose shortcut
// they are, and what a pass stores to their place there, and nowhere else.
#include "chip_maps.hpp"

#include "bench.hpp"
#include "data/chip_maps.hpp"

using namespace sbfp;

static Word maps[CHIP_WORDS];
static Word joined[SHORTCUT_WORDS];

int main() {
    bench::Check check("chip_maps");
    for (const Call &call : CALLS) {
        hls::stream<Word> packed;
        hls::stream<Word> fetched;
        bench::put(call.packed, packed);
        bench::put(call.maps_before, maps);
        bench::put(call.joined_before, joined);
        chip_maps(call.where, call.load_row, call.next_row, call.job_row, packed, maps, fetched, joined);
        check.expect("fetched", fetched, call.fetched);
        check.expect("maps", maps, call.maps);
        check.expect("joined", joined, call.joined);
    }
    return check.finish();
}
