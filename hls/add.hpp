// Addition that no convolution could take in, the larger one of two maps, and the
// copy: hands the main operand on; in the epilogue it is aligned and the shortcut joins.
#pragma once

#include "finished.hpp"
#include "hls_stream.h"
#include "trace.hpp"
#include "walk.hpp"
#include "window.hpp"

namespace sbfp {

inline void add_pass(const Layer &layer, const Tile &tile, const Pass &pass, const Word input[BANKS][BANK_ROWS],
                     hls::stream<AccWord> &complete) {
#pragma HLS INLINE off
    WindowWalk walk = start_walk(layer, tile, pass, 1);
    Finished<PIXELS> finished = nothing_finished<PIXELS>();
#pragma HLS ARRAY_PARTITION variable=finished.pixel complete dim=0
    const int32_t total = cycles(walk, pass);
ADD_CYCLES:
    for (int32_t n = 0; n < total; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=1048576
#pragma HLS PIPELINE II=1
        count(layer, COUNT_ADD);
        if (!waits(walk, finished)) {
            Word activations[PIXELS];
#pragma HLS AGGREGATE variable=activations
#pragma HLS ARRAY_PARTITION variable=activations complete
            read_pixels(walk, input, activations);
            AccBlock operands;
            for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
                set_pixel(operands, p, map<int32_t>(Operand{layer.in_unsigned}, activations[p]));
            }
            finish(walk, operands, finished);
            advance(walk);
        }
        give_sums<OPERAND_BITS>(finished, complete);
    }
}

}  // namespace sbfp
