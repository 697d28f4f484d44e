// Dense convolution: LANES input channels x FILTERS filters x PIXELS pixels a cycle.
#pragma once

#include "dependence_check.hpp"
#include "finished.hpp"
#include "hls_stream.h"
#include "products.hpp"
#include "jobs.hpp"
#include "trace.hpp"
#include "weights.hpp"
#include "window.hpp"

namespace sbfp {

// The lanes of one part of a word.
using Part = Lanes<int32_t, FILTERS>;

// An accumulator, and the sum of one word's products at its exponent: high digits weigh 2**DIGIT_BITS.
struct Accumulate {
    Digits digits;
    int32_t operator()(int32_t acc, int32_t sum, int8_t shift) const {
#pragma HLS INLINE
        const int32_t of_weights = digits.high_weights ? shift_left(sum, DIGIT_BITS) : sum;
        const int32_t of_both = digits.high_operands ? shift_left(of_weights, DIGIT_BITS) : of_weights;
        return acc + shift_left(of_both, shift & ALIGN_MASK);
    }
};

// Sums of one pass; bias, align and dense are those of its output words, one
// after the other. Between the chunks of a filter word the partial sums wait in
// `partial`; after the last chunk complete blocks go to `complete`. Each memory
// is a parameter of its own, since a pragma binds an array by its name.
inline void conv_pass(const StepRow &where, const ComputeRow &job_row, const Word input[BANKS][BANK_ROWS],
                      const AccWord bias[GROUP_WORDS], const Word align[WEIGHT_STEPS],
                      const Word dense[DENSE_ROWS][FILTERS], AccWord partial[TILE_BLOCKS][PIXELS],
                      hls::stream<AccWord> &complete) {
#pragma HLS INLINE off
#pragma HLS EXPRESSION_BALANCE off
    const ComputeJob job = compute_job(job_row);
    WindowWalk walk = start_walk<PIXELS>(where, job);
    AccBlock block = zero_block<LANES>();
#pragma HLS ARRAY_PARTITION variable=block.pixel complete dim=0
    Sums acc = zero_block<FILTERS>();
#pragma HLS ARRAY_PARTITION variable=acc.pixel complete dim=0
    Finished<PIXELS> finished = nothing_finished<PIXELS>();
#pragma HLS ARRAY_PARTITION variable=finished.pixel complete dim=0
    int32_t row = 0;          // of the weight buffer
    int32_t first_row = 0;    // of this output word
    int32_t first_align = 0;
    DependenceCheck<TILE_BLOCKS> check("partial", WHOLE_LOOP);
CONV_CYCLES:
    for (int32_t n = 0; n < job.cycles; n = bounded<ComputeJob::MOST_CYCLES>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=1048576
#pragma HLS PIPELINE II=1
// Each block is read in its first cycle of a pass and written in its last; no
// other block's cycles lie between, and no later cycle of the pass reads it.
#pragma HLS DEPENDENCE variable=partial type=inter false
        count(COUNT_CONV);
        if (!waits<PARTS>(walk, job, finished)) {
            const int32_t from = walk.part * FILTERS;
            if (walk.step == 0) {
                if (walk.part == 0 && !job.first) {
                    check.read(n, walk.block);
                    for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
                        set_pixel(block, p, partial[walk.block][p]);
                    }
                }
                const Part start = lanes_from<FILTERS>(bias[walk.output], from);
                for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
                    const Part partly = lanes_from<FILTERS>(pixel(block, p), from);
                    set_pixel(acc, p, map<int32_t>(Choose{job.first != 0}, start, partly));
                }
            }
            Word activations[PIXELS];
#pragma HLS AGGREGATE variable=activations
#pragma HLS ARRAY_PARTITION variable=activations complete
            read_pixels(walk, job, input, activations);
            const Digits digits = {HAS_WIDE_WEIGHTS && job.wide_weights != 0, HAS_WIDE_WEIGHTS && walk.high_weights != 0,
                                   HAS_WIDE_OPERANDS && job.wide_operands != 0,
                                   HAS_WIDE_OPERANDS && walk.high_operands != 0};
            const Sums sums = products(activations, job.operand_unsigned, digits, dense[row]);
            const Lanes<int8_t, FILTERS> shift = lanes_from<FILTERS>(align[first_align + walk.word], from);
            for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
                update_pixel(Accumulate{digits}, acc, p, pixel(sums, p), shift);
            }
            if (walk.step == job.steps - 1) {
                for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
                    set_pixel(block, p, pixel(acc, p), from);
                }
                if (walk.part == PARTS - 1) {
                    if (job.last) {
                        finish(walk, job, block, finished);
                    } else {
                        check.write(n, walk.block);
                        for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
                            partial[walk.block][p] = pixel(block, p);
                        }
                    }
                }
            }
            if (ends_position(walk, job)) {
                row = bounded<DENSE_ROWS>(row + 1);
            }
            if (ends_output<PARTS>(walk, job)) {
                first_row = row;
                first_align = bounded<WEIGHT_STEPS>(first_align + job.align_words);
            } else if (ends_block<PARTS>(walk, job)) {
                row = first_row;
            }
            advance<PARTS>(walk, job);
        }
        give_sums<32>(finished, complete);
    }
    expect_done(walk, job, finished);
}

}  // namespace sbfp
