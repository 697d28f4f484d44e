// Max pooling: compares mantissas; padding holds a value that never wins.
#pragma once

#include "finished.hpp"
#include "hls_stream.h"
#include "trace.hpp"
#include "walk.hpp"
#include "window.hpp"

namespace sbfp {

inline void max_pool_pass(const Layer &layer, const Tile &tile, const Pass &pass, const Word input[BANKS][BANK_ROWS],
                          hls::stream<AccWord> &complete) {
#pragma HLS INLINE off
    WindowWalk walk = start_walk(layer, tile, pass, 1);
    Word best[PIXELS];
#pragma HLS AGGREGATE variable=best
#pragma HLS ARRAY_PARTITION variable=best complete
    for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
        best[p] = fill<int8_t, LANES>(0);
    }
    Finished<POOL_PIXELS> finished = nothing_finished<POOL_PIXELS>();
#pragma HLS ARRAY_PARTITION variable=finished.pixel complete dim=0
    const int32_t total = cycles(walk, pass);
MAX_POOL_CYCLES:
    for (int32_t n = 0; n < total; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=1048576
#pragma HLS PIPELINE II=1
        count(layer, COUNT_MAX_POOL);
        if (!waits(walk, finished)) {
            Word activations[PIXELS];
#pragma HLS AGGREGATE variable=activations
#pragma HLS ARRAY_PARTITION variable=activations complete
            read_pixels(walk, input, activations);
            for (int p = 0; p < POOL_PIXELS; ++p) {
#pragma HLS UNROLL
                const Word larger = map<int8_t>(LargerMantissa{layer.in_unsigned}, activations[p], best[p]);
                best[p] = walk.step == 0 ? activations[p] : larger;
            }
            if (walk.step == walk.steps - 1) {
                AccBlock block = zero_block<LANES>();
                for (int p = 0; p < POOL_PIXELS; ++p) {
#pragma HLS UNROLL
                    set_pixel(block, p, map<int32_t>(Operand{layer.in_unsigned}, best[p]));
                }
                finish(walk, block, finished);
            }
            advance(walk);
        }
        give_sums<OPERAND_BITS>(finished, complete);
    }
}

}  // namespace sbfp
