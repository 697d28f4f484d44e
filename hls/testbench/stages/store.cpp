// Test bench of the stage store: beats to their place in the output map, and nowhere else.
#include "store.hpp"

#include "bench.hpp"
#include "data/store.hpp"

using namespace sbfp;

static Word memory[SIM_FMAP_WORDS];

int main() {
    bench::Check check("store");
    for (const Call &call : CALLS) {
        hls::stream<Word> packed;
        bench::put(call.packed, packed);
        bench::put(call.memory_before, memory);
        store(call.where, call.job_row, packed, memory);
        check.expect("memory", memory, call.memory);
    }
    return check.finish();
}
