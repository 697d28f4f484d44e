// Stage: mean of average pooling, shortcut, activation, one rounding shift, saturation; a word a cycle.
#pragma once

#include "avg_pool.hpp"
#include "hls_stream.h"
#include "tables.hpp"

namespace sbfp {

// (acc + (1 << (r - 1))) >> r, half up; r <= 0 shifts left.
inline int32_t round_shift(int32_t acc, int32_t r) {
#pragma HLS INLINE
    const int32_t half = r > 0 ? 1 << (r - 1) : 0;
    return r > 0 ? (acc + half) >> r : shift_left(acc, -r);
}

inline void epilogue(const Layer &layer, const Tile &tile, const Pass &pass, hls::stream<AccBlock> &sums,
                     hls::stream<Word> &shortcut, hls::stream<Word> &results) {
#pragma HLS INLINE off
    const int32_t pixels = tile.height * tile.width;
    const int32_t total = pass.last ? pass.outputs * pixels : 0;
    AccBlock block = zero_block();
#pragma HLS ARRAY_PARTITION variable=block.pixel complete
    TableRow shift;
    TableRow shortcut_shift;
    AccWord clamp;
    int32_t word = pass.out_word;
    int32_t left = 0;  // pixels of the word
    int32_t p = 0;
    int32_t y = tile.y;
    int32_t x = tile.x;
EPILOGUE_PIXELS:
    for (int32_t n = 0; n < total; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16384
#pragma HLS PIPELINE II=1
        count(layer, COUNT_EPILOGUE);
        if (left == 0) {
            shift = ROUND_SHIFT[layer.round_row + word];
            shortcut_shift = SHORTCUT_SHIFT[layer.has_shortcut ? layer.shortcut_row + word : 0];
            clamp = CLAMP_HIGH[layer.activation == RELU6 ? layer.clamp_row + word : 0];
            word += 1;
            left = pixels;
            p = 0;
            y = tile.y;
            x = tile.x;
        }
        left -= 1;
        if (p == 0) {
            block = sums.read();
        }
        const AccWord acc = block.pixel[p];
        Word other = fill_word(0);
        if (layer.has_shortcut) {
            other = shortcut.read();
        }
        const int32_t factor = layer.op == AVG_POOL ? reciprocal(layer, y, x) : 1;
        if (x == tile.x + tile.width - 1) {
            x = tile.x;
            y += 1;
        } else {
            x += 1;
        }
        Word result;
        for (int f = 0; f < LANES; ++f) {
#pragma HLS UNROLL
            // in logic: the multiplier array takes nearly all DSPs
            const int32_t mean = acc.lane[f] * factor;
#pragma HLS BIND_OP variable=mean op=mul impl=fabric
            int32_t value = layer.op == AVG_POOL ? mean : acc.lane[f];
            if (layer.has_shortcut) {
                value += shift_left(operand(other.lane[f], layer.shortcut_unsigned), shortcut_shift.lane[f]);
            }
            if (layer.activation != NONE && value < 0) {
                value = 0;
            }
            if (layer.activation == RELU6 && value > clamp.lane[f]) {
                value = clamp.lane[f];
            }
            value = round_shift(value, shift.lane[f]);
            value = value < layer.low ? layer.low : value > layer.high ? layer.high : value;
            result.lane[f] = static_cast<int8_t>(value);
        }
        results.write(result);
        p = p == layer.block_pixels - 1 ? 0 : p + 1;
    }
}

}  // namespace sbfp
