// Average pooling: integer sum times the static reciprocal of what counts.
#pragma once

#include "hls_stream.h"
#include "tables.hpp"
#include "window.hpp"

namespace sbfp {

// Rows (or columns) of a window that count, between the bounds that do.
inline int32_t counted(int32_t start, int32_t kernel, int32_t low, int32_t high) {
    const int32_t from = start > low ? start : low;
    const int32_t to = start + kernel < high ? start + kernel : high;
    return to - from;
}

inline void avg_pool_pass(const Layer &layer, const Tile &tile, const Pass &pass, const TileBuffer &input,
                          hls::stream<AccBlock> &complete) {
#pragma HLS INLINE off
    WindowWalk walk = start_walk(layer, tile, pass, 1);
    AccBlock acc = zero_block();
#pragma HLS ARRAY_PARTITION variable=acc.pixel complete
    int32_t y = tile.y;
    int32_t x = tile.x;
    const int32_t count = cycles(walk);
AVG_POOL_CYCLES:
    for (int32_t n = 0; n < count; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=1048576
#pragma HLS PIPELINE II=1
        Word activations[PIXELS];
#pragma HLS ARRAY_PARTITION variable=activations complete
        read_pixels(walk, input, activations);
        for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
            const Word a = activations[p];
            for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
                const int32_t value = operand(a.lane[c], layer.in_unsigned);
                acc.pixel[p].lane[c] = (walk.step == 0 ? 0 : acc.pixel[p].lane[c]) + value;
            }
        }
        if (walk.step == walk.steps - 1) {
            AccBlock mean;
            for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
                // lanes beyond the tile's last pixel stay inside the table
                const int32_t rows = counted(least(y, layer.out_height - 1) * layer.stride_height - layer.pad_top, layer.kernel_height,
                                             layer.count_top, layer.count_bottom);
                const int32_t cols = counted(x * layer.stride_width - layer.pad_left, layer.kernel_width,
                                             layer.count_left, layer.count_right);
                const int32_t reciprocal =
                    RECIPROCAL[layer.reciprocal_row + (rows - layer.rows_min) * layer.cols_span + cols - layer.cols_min];
                for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
                    mean.pixel[p].lane[c] = acc.pixel[p].lane[c] * reciprocal;
                }
                if (p >= layer.block_pixels) {
                    continue;
                }
                if (x == tile.x + tile.width - 1) {
                    x = tile.x;
                    y += 1;
                } else {
                    x += 1;
                }
            }
            complete.write(mean);
        }
        advance(walk);
    }
}

}  // namespace sbfp
