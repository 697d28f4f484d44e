// Average pooling: integer sums; the epilogue multiplies by the static
// reciprocal of what counts. POOL_PIXELS is 1 where all pooled maps are single pixels.
#pragma once

#include "finished.hpp"
#include "hls_stream.h"
#include "trace.hpp"
#include "walk.hpp"
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

inline void avg_pool_pass(const Layer &layer, const Tile &tile, const Pass &pass, const Word input[BANKS][BANK_ROWS],
                          hls::stream<AccWord> &complete) {
#pragma HLS INLINE off
    WindowWalk walk = start_walk(layer, tile, pass, 1);
    AccBlock acc = zero_block<LANES>();
#pragma HLS ARRAY_PARTITION variable=acc.pixel complete dim=0
    Finished<POOL_PIXELS> finished = nothing_finished<POOL_PIXELS>();
#pragma HLS ARRAY_PARTITION variable=finished.pixel complete dim=0
    const int32_t total = cycles(walk, pass);
AVG_POOL_CYCLES:
    for (int32_t n = 0; n < total; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=1048576
#pragma HLS PIPELINE II=1
        count(layer, COUNT_AVG_POOL);
        if (!waits(walk, finished)) {
            Word activations[PIXELS];
#pragma HLS AGGREGATE variable=activations
#pragma HLS ARRAY_PARTITION variable=activations complete
            read_pixels(walk, input, activations);
            for (int p = 0; p < POOL_PIXELS; ++p) {
#pragma HLS UNROLL
                const WindowSum sum = {walk.step == 0, layer.in_unsigned};
                update_pixel(sum, acc, p, activations[p]);
            }
            if (walk.step == walk.steps - 1) {
                finish(walk, acc, finished);
            }
            advance(walk);
        }
        give_sums<MEAN_BITS>(finished, complete);
    }
}

}  // namespace sbfp
