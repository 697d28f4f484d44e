// Addition that no convolution could take in, larger one, smaller one and product of two
// maps, and the copy: hands the main operand on; in the epilogue the shortcut joins.
#pragma once

#include "finished.hpp"
#include "hls_stream.h"
#include "jobs.hpp"
#include "trace.hpp"
#include "window.hpp"

namespace sbfp {

inline void add_pass(const StepRow &where, const ComputeRow &job_row, const Word input[BANKS][BANK_ROWS],
                     hls::stream<AccWord> &complete) {
#pragma HLS INLINE off
    const ComputeJob job = compute_job(job_row);
    WindowWalk walk = start_walk<PIXELS>(where, job);
    Finished<PIXELS> finished = nothing_finished<PIXELS>();
#pragma HLS ARRAY_PARTITION variable=finished.pixel complete dim=0
ADD_CYCLES:
    for (int32_t n = 0; n < job.cycles; n = bounded<ComputeJob::MOST_CYCLES>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=1048576
#pragma HLS PIPELINE II=1
        count(COUNT_ADD);
        if (!waits<1>(walk, job, finished)) {
            Word activations[PIXELS];
#pragma HLS AGGREGATE variable=activations
#pragma HLS ARRAY_PARTITION variable=activations complete
            read_pixels(walk, job, input, activations);
            AccBlock operands;
            for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
                set_pixel(operands, p, map<int32_t>(Operand{job.operand_unsigned}, activations[p]));
            }
            finish(walk, job, operands, finished);
            advance<1>(walk, job);
        }
        give_sums<OPERAND_BITS>(finished, complete);
    }
    expect_done(walk, job, finished);
}

}  // namespace sbfp
