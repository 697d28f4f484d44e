// Walks the windows of a tile: for every output word of a pass and every block
// of output pixels, all parts of the output word, all input words and kernel
// positions, one a cycle.
//
// The input buffer has BANKS banks (place.hpp). Rows are padded to a pitch with
//     pitch * stride_height == tile_width * stride_width   (mod BANKS)
// (strides as the buffer has them)
// so that output pixel n, counted across the rows, starts at a word congruent
// to n * stride_width. BANKS is a prime that does not divide the stride, so
// that BANKS consecutive pixels always read from different banks.
#pragma once

#include "jobs.hpp"
#include "trace.hpp"
#include "words.hpp"

namespace sbfp {

// Nothing else reads or writes the half of the input buffer that is computed from.
static_assert(WALK_PIXELS <= 2 * BANKS, "a bank of block RAM has two ports, and no more lanes can read it in a cycle");

// Where a pass stands, on so many pixel lanes; its constants are those of its job.
template <int P>
struct WalkOf {
    Place start;         // first input word
    Place offset;        // within the window
    int32_t output;      // word of output channels
    int32_t block;
    int32_t part;        // of an output word; those of a block are computed one after the other
    int32_t step;
    int32_t high_weights;   // which digits meet, where mantissas go as such: the low ones first
    int32_t high_operands;
    int32_t kx;
    int32_t ky;
    int32_t word;
    int32_t pixels_left;
    // of each pixel lane: its column and its window
    int32_t x[P];
    Place base[P];
};

// That of all stages but depthwise convolution's, which may have more lanes.
using WindowWalk = WalkOf<PIXELS>;

// Whether a lane has a pixel of this block.
template <int P>
inline bool has_pixel(const WalkOf<P> &walk, const ComputeJob &job, int p) {
#pragma HLS INLINE
    return p < job.block_pixels && p < walk.pixels_left;
}

// Back to the tile's first block of pixels.
template <int P>
inline void first_pixels(WalkOf<P> &walk, const ComputeJob &job) {
#pragma HLS INLINE
    walk.block = 0;
    walk.pixels_left = job.pixels;
    for (int p = 0; p < P; ++p) {
#pragma HLS UNROLL
        walk.x[p] = job.first_x[p];
        walk.base[p] = job.first_base[p];
    }
}

// To the next block: a lane goes on by a number of pixels that is the same for all.
template <int P>
inline void next_pixels(WalkOf<P> &walk, const ComputeJob &job) {
#pragma HLS INLINE
    walk.block = bounded<ComputeJob::MOST_BLOCKS>(walk.block + 1);
    walk.pixels_left = bounded<ComputeJob::MOST_PIXELS>(walk.pixels_left - job.block_pixels);
    for (int p = 0; p < P; ++p) {
#pragma HLS UNROLL
        const int32_t behind = job.width - job.ahead;
        const bool wraps = walk.x[p] >= behind;
        walk.x[p] = bounded<ComputeJob::MOST_WIDTH>(wraps ? walk.x[p] - behind : walk.x[p] + job.ahead);
        walk.base[p] = move(walk.base[p], choose(wraps, job.wraps, job.stays));
    }
}

// Every output word of a dense convolution reads all input words, of the other operators its own one.
template <int P>
inline WalkOf<P> start_walk(const StepRow &where, const ComputeJob &job) {
#pragma HLS INLINE
    WalkOf<P> walk;
    walk.start = step_of(where).window_start;
    walk.offset = walk.start;
    walk.output = 0;
    walk.part = 0;
    walk.step = 0;
    walk.high_weights = 0;
    walk.high_operands = 0;
    walk.kx = 0;
    walk.ky = 0;
    walk.word = 0;
    first_pixels(walk, job);
    return walk;
}

// Whether this cycle is the last of a block of output pixels, and of an output word. PARTS_EACH: of an output word.
template <int PARTS_EACH, int P>
inline bool ends_block(const WalkOf<P> &walk, const ComputeJob &job) {
#pragma HLS INLINE
    return walk.step == job.steps - 1 && walk.part == PARTS_EACH - 1;
}

template <int PARTS_EACH, int P>
inline bool ends_output(const WalkOf<P> &walk, const ComputeJob &job) {
#pragma HLS INLINE
    return ends_block<PARTS_EACH>(walk, job) && walk.block == job.blocks - 1;
}

// Whether weights, and activations, have a digit that is still to come at this kernel position.
template <int P>
inline bool more_weights(const WalkOf<P> &walk, const ComputeJob &job) {
#pragma HLS INLINE
    return HAS_WIDE_WEIGHTS && job.wide_weights != 0 && walk.high_weights == 0;
}

template <int P>
inline bool more_operands(const WalkOf<P> &walk, const ComputeJob &job) {
#pragma HLS INLINE
    return HAS_WIDE_OPERANDS && job.wide_operands != 0 && walk.high_operands == 0;
}

// Whether this cycle is the last one at a kernel position.
template <int P>
inline bool ends_position(const WalkOf<P> &walk, const ComputeJob &job) {
#pragma HLS INLINE
    return !more_weights(walk, job) && !more_operands(walk, job);
}

// The words of all pixel lanes at the current position, zeros for lanes without
// a pixel: every bank is read once for each group of BANKS lanes.
template <int P>
inline void read_pixels(const WalkOf<P> &walk, const ComputeJob &job, const Word input[BANKS][BANK_ROWS], Word activations[P]) {
#pragma HLS INLINE
    for (int group = 0; group < (P + BANKS - 1) / BANKS; ++group) {
#pragma HLS UNROLL
        const int first = group * BANKS;
        const int lanes = P - first < BANKS ? P - first : BANKS;
        int32_t bank[BANKS];  // of each lane
#pragma HLS ARRAY_PARTITION variable=bank complete
        int32_t row[BANKS];   // of each bank
#pragma HLS ARRAY_PARTITION variable=row complete
        Word data[BANKS + 1];
#pragma HLS AGGREGATE variable=data
#pragma HLS ARRAY_PARTITION variable=data complete
        for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
            row[b] = 0;
        }
        for (int p = 0; p < lanes; ++p) {
#pragma HLS UNROLL
            const Place from = move(walk.base[first + p], walk.offset);
            bank[p] = has_pixel(walk, job, first + p) ? from.bank : BANKS;
            for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
                row[b] = bank[p] == b ? from.row : row[b];
            }
        }
        for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
            data[b] = input[b][row[b]];
        }
        data[BANKS] = fill<int8_t, LANES>(0);
        for (int p = 0; p < lanes; ++p) {
#pragma HLS UNROLL
            activations[first + p] = data[bank[p]];
        }
    }
}

template <int PARTS_EACH, int P>
inline void advance(WalkOf<P> &walk, const ComputeJob &job) {
#pragma HLS INLINE
    if (walk.step == job.steps - 1) {
        walk.step = 0;
        walk.high_weights = 0;
        walk.high_operands = 0;
        walk.kx = 0;
        walk.ky = 0;
        walk.word = 0;
        if (walk.part != PARTS_EACH - 1) {
            walk.part = bounded<PARTS_EACH - 1>(walk.part + 1);
        } else if (walk.block != job.blocks - 1) {
            walk.part = 0;
            next_pixels(walk, job);
        } else {
            walk.part = 0;
            walk.output = bounded<ComputeJob::MOST_OUTPUTS>(walk.output + 1);
            walk.start = move(walk.start, job.next_output);
            first_pixels(walk, job);
        }
        walk.offset = walk.start;
        return;
    }
    walk.step = bounded<ComputeJob::MOST_STEPS>(walk.step + 1);
    if (!ends_position(walk, job)) {
        // every digit of the weights meets the low one of the activations, then the high one
        walk.high_operands = more_weights(walk, job) ? walk.high_operands : 1;
        walk.high_weights = more_weights(walk, job) ? 1 : 0;
        return;
    }
    walk.high_weights = 0;
    walk.high_operands = 0;
    if (walk.kx != job.kernel_width - 1) {
        walk.kx = bounded<ComputeJob::MOST_KERNEL_WIDTH>(walk.kx + 1);
        walk.offset = move(walk.offset, job.next_column);
    } else if (walk.ky != job.kernel_height - 1) {
        walk.kx = 0;
        walk.ky = bounded<ComputeJob::MOST_KERNEL_HEIGHT>(walk.ky + 1);
        walk.offset = move(walk.offset, job.next_row);
    } else {
        walk.kx = 0;
        walk.ky = 0;
        walk.word = bounded<ComputeJob::MOST_STEPS>(walk.word + 1);
        walk.offset = move(walk.offset, job.next_word);
    }
}

}  // namespace sbfp
