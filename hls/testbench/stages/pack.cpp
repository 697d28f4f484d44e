// Test bench of the stage pack: mantissas in, beats of memory, or of on-chip memory, out.
#include "store.hpp"

#include "bench.hpp"
#include "data/pack.hpp"

using namespace sbfp;

int main() {
    bench::Check check("pack");
    for (const Call &call : CALLS) {
        hls::stream<Word> kept;
        hls::stream<Word> pooled;
        hls::stream<Word> packed;
        hls::stream<Word> on_chip;
        bench::put(call.kept, kept);
        bench::put(call.pooled, pooled);
        pack(call.where, call.job_row, kept, pooled, packed, on_chip);
        check.expect("packed", packed, call.packed);
        check.expect("on_chip", on_chip, call.on_chip);
    }
    return check.finish();
}
