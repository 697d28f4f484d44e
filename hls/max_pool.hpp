// Max pooling: compares mantissas; padding holds a value that never wins.
#pragma once

#include "hls_stream.h"
#include "window.hpp"

namespace sbfp {

inline void max_pool_pass(const Layer &layer, const Tile &tile, const Pass &pass, const Word input[BANKS][BANK_ROWS],
                          hls::stream<AccBlock> &complete) {
#pragma HLS INLINE off
    WindowWalk walk = start_walk(layer, tile, pass, 1);
    AccBlock best = zero_block();
#pragma HLS ARRAY_PARTITION variable=best.pixel complete
    const int32_t total = cycles(walk);
MAX_POOL_CYCLES:
    for (int32_t n = 0; n < total; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=1048576
#pragma HLS PIPELINE II=1
        count(layer, COUNT_MAX_POOL);
        Word activations[PIXELS];
#pragma HLS ARRAY_PARTITION variable=activations complete
        read_pixels(walk, input, activations);
        for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
            const Word a = activations[p];
            for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
                const int32_t value = operand(a.lane[c], layer.in_unsigned);
                const int32_t before = best.pixel[p].lane[c];
                best.pixel[p].lane[c] = walk.step == 0 || value > before ? value : before;
            }
        }
        if (walk.step == walk.steps - 1) {
            complete.write(best);
        }
        advance(walk);
    }
}

}  // namespace sbfp
