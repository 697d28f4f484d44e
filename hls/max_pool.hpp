// Max pooling: compares mantissas; padding holds a value that never wins.
#pragma once

#include "finished.hpp"
#include "hls_stream.h"
#include "jobs.hpp"
#include "trace.hpp"
#include "window.hpp"

namespace sbfp {

inline void max_pool_pass(const StepRow &where, const ComputeRow &job_row, const Word input[BANKS][BANK_ROWS],
                          hls::stream<AccWord> &complete) {
#pragma HLS INLINE off
    const ComputeJob job = compute_job(job_row);
    WindowWalk walk = start_walk<PIXELS>(where, job);
    Word best[PIXELS];
#pragma HLS AGGREGATE variable=best
#pragma HLS ARRAY_PARTITION variable=best complete
    for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
        best[p] = fill<int8_t, LANES>(0);
    }
    Finished<POOL_PIXELS> finished = nothing_finished<POOL_PIXELS>();
#pragma HLS ARRAY_PARTITION variable=finished.pixel complete dim=0
MAX_POOL_CYCLES:
    for (int32_t n = 0; n < job.cycles; n = bounded<ComputeJob::MOST_CYCLES>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=1048576
#pragma HLS PIPELINE II=1
        count(COUNT_MAX_POOL);
        if (!waits<1>(walk, job, finished)) {
            Word activations[PIXELS];
#pragma HLS AGGREGATE variable=activations
#pragma HLS ARRAY_PARTITION variable=activations complete
            read_pixels(walk, job, input, activations);
            for (int p = 0; p < POOL_PIXELS; ++p) {
#pragma HLS UNROLL
                const Word larger = map<int8_t>(LargerMantissa{job.operand_unsigned}, activations[p], best[p]);
                best[p] = map<int8_t>(Choose{walk.step == 0}, activations[p], larger);
            }
            if (walk.step == job.steps - 1) {
                AccBlock block = zero_block<LANES>();
                for (int p = 0; p < POOL_PIXELS; ++p) {
#pragma HLS UNROLL
                    set_pixel(block, p, map<int32_t>(Operand{job.operand_unsigned}, best[p]));
                }
                finish(walk, job, block, finished);
            }
            advance<1>(walk, job);
        }
        give_sums<OPERAND_BITS>(finished, complete);
    }
    expect_done(walk, job, finished);
}

}  // namespace sbfp
