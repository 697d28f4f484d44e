// Average pooling: integer sums; the epilogue multiplies by the static
// reciprocal of what counts. POOL_PIXELS is 1 where all pooled maps are single pixels.
#pragma once

#include "finished.hpp"
#include "hls_stream.h"
#include "jobs.hpp"
#include "trace.hpp"
#include "window.hpp"

namespace sbfp {

// The sum of a window, with one more mantissa.
struct WindowSum {
    bool first;
    int32_t is_unsigned;
    int32_t operator()(int32_t sum, int8_t mantissa) const {
#pragma HLS INLINE
        return narrow((first ? 0 : sum) + operand(mantissa, is_unsigned), MEAN_BITS);
    }
};

inline void avg_pool_pass(const StepRow &where, const ComputeRow &job_row, const Word input[BANKS][BANK_ROWS],
                          hls::stream<AccWord> &complete) {
#pragma HLS INLINE off
    const ComputeJob job = compute_job(job_row);
    WindowWalk walk = start_walk<PIXELS>(where, job);
    AccBlock acc = zero_block<LANES>();
#pragma HLS ARRAY_PARTITION variable=acc.pixel complete dim=0
    Finished<POOL_PIXELS> finished = nothing_finished<POOL_PIXELS>();
#pragma HLS ARRAY_PARTITION variable=finished.pixel complete dim=0
AVG_POOL_CYCLES:
    for (int32_t n = 0; n < job.cycles; n = bounded<ComputeJob::MOST_CYCLES>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=1048576
#pragma HLS PIPELINE II=1
        count(COUNT_AVG_POOL);
        if (!waits<1>(walk, job, finished)) {
            Word activations[PIXELS];
#pragma HLS AGGREGATE variable=activations
#pragma HLS ARRAY_PARTITION variable=activations complete
            read_pixels(walk, job, input, activations);
            for (int p = 0; p < POOL_PIXELS; ++p) {
#pragma HLS UNROLL
                const WindowSum sum = {walk.step == 0, job.operand_unsigned};
                update_pixel(sum, acc, p, activations[p]);
            }
            if (walk.step == job.steps - 1) {
                finish(walk, job, acc, finished);
            }
            advance<1>(walk, job);
        }
        give_sums<MEAN_BITS>(finished, complete);
    }
    expect_done(walk, job, finished);
}

}  // namespace sbfp
