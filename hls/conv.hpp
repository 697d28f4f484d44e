// Dense convolution: LANES input channels x LANES filters x PIXELS pixels a cycle.
#pragma once

#include "hls_stream.h"
#include "weights.hpp"
#include "window.hpp"

namespace sbfp {

// Integer dot products of one input word of each pixel with the filters of one
// output word, shifted to the accumulator's exponent: acc += (w . a) << align.
inline void multiply_accumulate(AccBlock &acc, const Word activations[PIXELS], int32_t is_unsigned,
                                const Word weights[LANES], const Word &align) {
#pragma HLS INLINE
    AccBlock psum = zero_block();
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
            const int16_t a = operand(activations[p].lane[c], is_unsigned);
            for (int f = 0; f < LANES; ++f) {
#pragma HLS UNROLL
                psum.pixel[p].lane[f] += static_cast<int32_t>(a) * static_cast<int32_t>(weights[c].lane[f]);
            }
        }
    }
    for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
        for (int f = 0; f < LANES; ++f) {
#pragma HLS UNROLL
            acc.pixel[p].lane[f] += shift_left(psum.pixel[p].lane[f], align.lane[f]);
        }
    }
}

// Sums of one pass. Between the chunks of a filter word the partial sums wait
// in `partial`; after the last chunk complete blocks go to `sums`.
inline void conv_pass(const Layer &layer, const Tile &tile, const Pass &pass, const Word input[INPUT_WORDS],
                      const PassWeights &weights, AccBlock partial[TILE_BLOCKS], hls::stream<AccBlock> &sums) {
#pragma HLS INLINE off
    WindowWalk walk = start_walk(layer, tile, pass);
    AccBlock acc = zero_block();
#pragma HLS ARRAY_PARTITION variable=acc.pixel complete
    const int32_t cycles = walk.blocks * walk.steps;
CONV_CYCLES:
    for (int32_t n = 0; n < cycles; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=1048576
#pragma HLS PIPELINE II=1
// Each block is read once and written once per pass, `steps` cycles apart or
// in the same cycle; no later iteration of the pass reads what it wrote.
#pragma HLS DEPENDENCE variable=partial type=inter false
        if (walk.step == 0) {
            for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
                acc.pixel[p] = weights.bias;
            }
            if (!pass.first) {
                acc = partial[walk.block];
            }
        }
        Word activations[PIXELS];
#pragma HLS ARRAY_PARTITION variable=activations complete
        for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
            activations[p] = input[address(walk, p)];
        }
        multiply_accumulate(acc, activations, layer.in_unsigned, weights.dense[walk.step], weights.align[walk.word]);
        if (walk.step == walk.steps - 1) {
            if (pass.last) {
                sums.write(acc);
            } else {
                partial[walk.block] = acc;
            }
        }
        advance(walk);
    }
}

}  // namespace sbfp
