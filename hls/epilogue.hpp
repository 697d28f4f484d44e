// Stage: mean of average pooling, alignment and bias of what did not come through
// the dense array, shortcut, activation, one rounding shift, saturation; a word a cycle.
#pragma once

#include "avg_pool.hpp"
#include "hls_stream.h"
#include "rounding.hpp"
#include "tables.hpp"
#include "trace.hpp"
#include "walk.hpp"

namespace sbfp {

// biases: of depthwise convolution, one for each output word.
inline void epilogue(const Layer &layer, const Tile &tile, const Pass &pass, hls::stream<AccWord> &biases,
                     hls::stream<AccBlock> &sums, hls::stream<Word> &shortcut, hls::stream<Word> &results) {
#pragma HLS INLINE off
    const int32_t pixels = tile.height * tile.width;
    const int32_t total = pass.last ? pass.outputs * pixels : 0;
    AccBlock block = zero_block();
#pragma HLS ARRAY_PARTITION variable=block.pixel complete dim=0
    const bool depthwise = HAS_DEPTHWISE && layer.op == DEPTHWISE;
    const bool average = HAS_AVG_POOL && layer.op == AVG_POOL;
    const bool has_main = (depthwise || (HAS_ADD && layer.op == ADD)) && layer.main_row >= 0;
    const bool has_shortcut = HAS_SHORTCUT && layer.has_shortcut != 0;
    const bool relu6 = HAS_RELU6 && layer.activation == RELU6;
    AccWord bias;
    TableRow main_shift;
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
            if (depthwise) {
                bias = biases.read();
            }
            main_shift = MAIN_SHIFT[has_main ? layer.main_row + word : 0];
            shift = ROUND_SHIFT[layer.round_row + word];
            shortcut_shift = SHORTCUT_SHIFT[has_shortcut ? layer.shortcut_row + word : 0];
            clamp = CLAMP_HIGH[relu6 ? layer.clamp_row + word : 0];
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
        AccWord acc;
        for (int f = 0; f < LANES; ++f) {
#pragma HLS UNROLL
            acc.lane[f] = block.pixel[p][f];
        }
        Word other = fill_word(0);
        if (has_shortcut) {
            other = shortcut.read();
        }
        const int32_t factor = average ? reciprocal(layer, layer.kernel_height, layer.kernel_width, y, x) : 0;
        if (x == tile.x + tile.width - 1) {
            x = tile.x;
            y += 1;
        } else {
            x += 1;
        }
        Word result;
        for (int f = 0; f < LANES; ++f) {
#pragma HLS UNROLL
            // two DSPs: MEAN_BITS by the low 17 and by the high bits of the reciprocal
            const int32_t mean = narrow(acc.lane[f], MEAN_BITS) * factor;
#pragma HLS BIND_OP variable=mean op=mul impl=dsp
            int32_t value = average ? mean : acc.lane[f];
            if (has_main) {
                value = shift_left(value, main_shift.lane[f]);
            }
            if (depthwise) {
                value += bias.lane[f];
            }
            if (has_shortcut) {
                value += shift_left(operand(other.lane[f], layer.shortcut_unsigned), shortcut_shift.lane[f]);
            }
            if (layer.activation != NONE && value < 0) {
                value = 0;
            }
            if (relu6 && value > clamp.lane[f]) {
                value = clamp.lane[f];
            }
            value = round_shift(value, shift.lane[f], ROUND_LEAST, ROUND_MASK);
            result.lane[f] = static_cast<int8_t>(saturate(value, layer.low, layer.high));
        }
        results.write(result);
        p = p == layer.block_pixels - 1 ? 0 : p + 1;
    }
}

}  // namespace sbfp
