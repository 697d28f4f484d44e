// Test bench of the stage fused_pool: a layer's words in, they and their maxima out; running ones wait from tile to tile.
#include "fused_pool.hpp"

#include "bench.hpp"
#include "data/fused_pool.hpp"

using namespace sbfp;

static Word best[POOL_WORDS];

int main() {
    bench::Check check("fused_pool");
    for (const Call &call : CALLS) {
        hls::stream<Word> results;
        hls::stream<Word> kept;
        hls::stream<Word> pooled;
        bench::put(call.results, results);
        bench::put(call.best_before, best);
        fused_pool(call.where, call.job_row, results, best, kept, pooled);
        check.expect("kept", kept, call.kept);
        check.expect("pooled", pooled, call.pooled);
        check.expect("best", best, call.best);
    }
    return check.finish();
}
