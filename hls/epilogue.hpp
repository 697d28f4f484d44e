// Stage: mean of average pooling, alignment and bias of what did not come through
// the dense array, shortcut, activation, one requantisation shift, saturation; a word a cycle.
#pragma once

#include "hls_stream.h"
#include "rounding.hpp"
#include "tables.hpp"
#include "trace.hpp"
#include "walk.hpp"

namespace sbfp {

static_assert(ENGINE_ACTIVATION_MEMBERS == 3, "an activation that the epilogue does not know");
static_assert(ENGINE_OPERATOR_MEMBERS == 6, "an operator of which the epilogue does not know how it ends");

// What is done in each lane. larger: of sum and shortcut, instead of adding them; low, high: least and largest
// mantissa; factor: reciprocal of what a mean counts, which may differ from pixel to pixel.
struct Finish {
    bool average;
    bool depthwise;
    bool has_main;
    bool has_shortcut;
    bool larger;
    bool relu;
    bool relu6;
    int32_t shortcut_unsigned;
    int32_t low;
    int32_t high;
    int32_t factor;
    int8_t operator()(int32_t sum, int8_t main_shift, int32_t bias, int8_t shortcut, int8_t shortcut_shift,
                      int32_t clamp, int8_t shift) const {
#pragma HLS INLINE
        int32_t value = average ? mean(sum, factor) : sum;
        if (has_main) {
            value = shift_left(value, main_shift);
        }
        if (depthwise) {
            value += bias;
        }
        if (has_shortcut) {
            const int32_t aligned = shift_left(operand(shortcut, shortcut_unsigned), shortcut_shift);
            value = !larger ? value + aligned : aligned > value ? aligned : value;
        }
        if (relu && value < 0) {
            value = 0;
        }
        if (relu6 && value > clamp) {
            value = clamp;
        }
        return static_cast<int8_t>(saturate(round_shift<ROUND_LEAST, ROUND_MASK>(value, shift), low, high));
    }
};

inline Finish finish_of(const Layer &layer) {
#pragma HLS INLINE
    Finish finish;
    finish.average = HAS_AVG_POOL && layer.op == AVG_POOL;
    finish.depthwise = HAS_DEPTHWISE && layer.op == DEPTHWISE;
    finish.larger = HAS_MAXIMUM && layer.op == MAXIMUM;
    const bool handed_on = finish.larger || (HAS_ADD && layer.op == ADD);
    finish.has_main = (finish.depthwise || handed_on) && layer.main_row >= 0;
    finish.has_shortcut = HAS_SHORTCUT && layer.has_shortcut != 0;
    finish.relu = layer.activation == RELU || layer.activation == RELU6;
    finish.relu6 = HAS_RELU6 && layer.activation == RELU6;
    finish.shortcut_unsigned = layer.shortcut_unsigned;
    finish.low = layer.low;
    finish.high = layer.high;
    finish.factor = 0;
    return finish;
}

// biases: of depthwise convolution, one for each output word.
inline void epilogue(const Layer &layer, const Tile &tile, const Pass &pass, hls::stream<AccWord> &biases,
                     hls::stream<AccWord> &sums, hls::stream<Word> &shortcut, hls::stream<Word> &results) {
#pragma HLS INLINE off
// All lanes of a row are read in the same cycle.
#pragma HLS AGGREGATE variable=MAIN_ALIGNMENT
#pragma HLS AGGREGATE variable=REQUANTISATION_SHIFT
#pragma HLS AGGREGATE variable=SHORTCUT_ALIGNMENT
#pragma HLS AGGREGATE variable=CLAMP_HIGH
    const int32_t pixels = tile.height * tile.width;
    const int32_t total = finished_rows(tile, pass) * tile.width;
    Finish finish = finish_of(layer);
    AccWord bias = fill<int32_t, LANES>(0);
    TableRow main_shift;
    TableRow shift;
    TableRow shortcut_shift;
    AccWord clamp;
    int32_t word = pass.out_word;
    int32_t left = 0;  // pixels of the word
    int32_t y = tile.y;
    int32_t x = tile.x;
EPILOGUE_PIXELS:
    for (int32_t n = 0; n < total; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16384
#pragma HLS PIPELINE II=1
        count(layer, COUNT_EPILOGUE);
        if (left == 0) {
            if (HAS_DEPTHWISE && finish.depthwise) {
                bias = biases.read();
            }
            main_shift = MAIN_ALIGNMENT[finish.has_main ? layer.main_row + word : 0];
            shift = REQUANTISATION_SHIFT[layer.round_row + word];
            shortcut_shift = SHORTCUT_ALIGNMENT[finish.has_shortcut ? layer.shortcut_row + word : 0];
            clamp = CLAMP_HIGH[finish.relu6 ? layer.clamp_row + word : 0];
            word += 1;
            left = pixels;
            y = tile.y;
            x = tile.x;
        }
        left -= 1;
        const AccWord sum = sums.read();
        Word other = fill<int8_t, LANES>(0);
        if (HAS_SHORTCUT && finish.has_shortcut) {
            other = shortcut.read();
        }
        finish.factor = finish.average ? reciprocal(layer, layer.kernel_height, layer.kernel_width, y, x) : 0;
        if (x == tile.x + tile.width - 1) {
            x = tile.x;
            y += 1;
        } else {
            x += 1;
        }
        results.write(map<int8_t>(finish, sum, main_shift, bias, other, shortcut_shift, clamp, shift));
    }
}

}  // namespace sbfp
