// Depthwise convolution: LANES channels x DEPTHWISE_PIXELS pixels a cycle. The epilogue,
// which has one word a cycle to do, aligns the sums and adds the bias.
#pragma once

#include "finished.hpp"
#include "hls_stream.h"
#include "jobs.hpp"
#include "trace.hpp"
#include "weights.hpp"
#include "window.hpp"

namespace sbfp {

// The sum of a channel's window, with one more product. The product is in logic, since the array takes nearly all DSPs.
struct DepthwiseSum {
    bool first;
    int32_t is_unsigned;
    int32_t operator()(int32_t sum, int8_t a, int8_t w) const {
#pragma HLS INLINE
        const int32_t activation = narrow(operand(a, is_unsigned), DEPTHWISE_OPERAND_BITS);
        const int32_t product = activation * narrow(w, DEPTHWISE_WEIGHT_BITS);
#pragma HLS BIND_OP variable=product op=mul impl=fabric
        return narrow((first ? 0 : sum) + product, DEPTHWISE_BITS);
    }
};

inline void depthwise_pass(const StepRow &where, const ComputeRow &job_row, const Word input[BANKS][BANK_ROWS],
                           const AccWord bias[GROUP_WORDS], const Word depthwise[DEPTHWISE_STEPS],
                           hls::stream<AccWord> &biases, hls::stream<AccWord> &complete) {
#pragma HLS INLINE off
    const ComputeJob job = compute_job(job_row);
    WalkOf<DEPTHWISE_PIXELS> walk = start_walk<DEPTHWISE_PIXELS>(where, job);
    Block<LANES, DEPTHWISE_PIXELS> acc = zero_block<LANES, DEPTHWISE_PIXELS>();
#pragma HLS ARRAY_PARTITION variable=acc.pixel complete dim=0
    int32_t first_weight = 0;  // of this output word
    Finished<DEPTHWISE_PIXELS> finished = nothing_finished<DEPTHWISE_PIXELS>();
#pragma HLS ARRAY_PARTITION variable=finished.pixel complete dim=0
DEPTHWISE_CYCLES:
    for (int32_t n = 0; n < job.cycles; n = bounded<ComputeJob::MOST_CYCLES>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=1048576
#pragma HLS PIPELINE II=1
        count(COUNT_DEPTHWISE);
        if (!waits<1>(walk, job, finished)) {
            Word activations[DEPTHWISE_PIXELS];
#pragma HLS AGGREGATE variable=activations
#pragma HLS ARRAY_PARTITION variable=activations complete
            read_pixels(walk, job, input, activations);
            const Word w = depthwise[first_weight + walk.step];
            for (int p = 0; p < DEPTHWISE_PIXELS; ++p) {
#pragma HLS UNROLL
                const DepthwiseSum sum = {walk.step == 0, job.operand_unsigned};
                update_pixel(sum, acc, p, activations[p], w);
            }
            if (walk.step == 0 && walk.block == 0) {
                biases.write(bias[walk.output]);
            }
            if (walk.step == job.steps - 1) {
                finish(walk, job, acc, finished);
            }
            if (ends_output<1>(walk, job)) {
                first_weight = bounded<DEPTHWISE_STEPS>(first_weight + job.steps);
            }
            advance<1>(walk, job);
        }
        give_sums<DEPTHWISE_BITS>(finished, complete);
    }
    expect_done(walk, job, finished);
}

}  // namespace sbfp
