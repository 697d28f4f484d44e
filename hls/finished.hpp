// What a compute stage has finished: a block of sums of several pixels, which
// leaves word by word, one a cycle, while the next block is computed.
//
// A channel carries single words, so that its width does not grow with the pixel
// lanes: the compiler refuses what is wider than WIDEST_WORD.
#pragma once

#include "hls_stream.h"
#include "window.hpp"
#include "words.hpp"

namespace sbfp {

// Sums of N pixels, of which `left` have still to go, the next one that of pixel `next`.
template <int N>
struct Finished {
    int32_t left;
    int32_t next;
    int32_t pixel[N][LANES];
};

template <int N>
inline Finished<N> nothing_finished() {
#pragma HLS INLINE
    Finished<N> finished;
    finished.left = 0;
    finished.next = 0;
    for (int p = 0; p < N; ++p) {
#pragma HLS UNROLL
        for (int i = 0; i < LANES; ++i) {
#pragma HLS UNROLL
            finished.pixel[p][i] = 0;
        }
    }
    return finished;
}

// Whether the walk has to wait in this cycle: for the words of the block before
// the one that it would end, or since it has come to its end.
template <int PARTS_EACH, int P, int N>
inline bool waits(const WalkOf<P> &walk, const ComputeJob &job, const Finished<N> &finished) {
#pragma HLS INLINE
    return walk.output == job.outputs || (finished.left > 0 && ends_block<PARTS_EACH>(walk, job));
}

// The block that the walk ends in this cycle leaves from now on, those of its pixels that belong to the tile.
template <int P, int N>
inline void finish(const WalkOf<P> &walk, const ComputeJob &job, const Block<LANES, P> &block,
                   Finished<N> &finished) {
#pragma HLS INLINE
    finished.left = walk.pixels_left < job.block_pixels ? walk.pixels_left : job.block_pixels;
    finished.next = 0;
    for (int p = 0; p < N; ++p) {
#pragma HLS UNROLL
        for (int i = 0; i < LANES; ++i) {
#pragma HLS UNROLL
            finished.pixel[p][i] = block.pixel[p][i];
        }
    }
}

// Write the next word, if there is one. BITS: of the widest sum, sign included.
template <int BITS, int N>
inline void give_sums(Finished<N> &finished, hls::stream<AccWord> &sums) {
#pragma HLS INLINE
    if (finished.left > 0) {
        AccWord word;
        for (int i = 0; i < LANES; ++i) {
#pragma HLS UNROLL
            word.lane[i] = narrow(finished.pixel[finished.next][i], BITS);
        }
        sums.write(word);
        finished.left = bounded<N>(finished.left - 1);
        finished.next = bounded<N>(finished.next + 1);
    }
}

// After its last cycle a pass has computed and given all, and not a cycle before.
template <int P, int N>
inline void expect_done(const WalkOf<P> &walk, const ComputeJob &job, const Finished<N> &finished) {
#pragma HLS INLINE
    expect_true(walk.output == job.outputs && finished.left == 0, "a pass is not done after the cycles of its job");
}

}  // namespace sbfp
