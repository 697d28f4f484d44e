// Weights, bias and alignment shifts of one pass, as they lie in memory and on chip.
//
// In memory, per word of output channels: the bias (four beats: LANES 32-bit
// integers, little endian), then per chunk the alignment shifts (one beat per
// input word, only where the layer has any) and the mantissas, packed (see
// packing.hpp): for each part of FILTERS filters, for each step (an input word
// at a kernel position), FILTERS words with FILTERS mantissas of each of LANES
// input channels. A depthwise step is one word.
#pragma once

#include "packing.hpp"

namespace sbfp {

constexpr int BIAS_BEATS = 4;

// Rows of the on-chip buffer of dense weights: FILTERS words each.
constexpr int DENSE_ROWS = WEIGHT_STEPS * PARTS;

// What one pass reads: bias at `bias`, then from `start` on alignment beats and words of mantissas.
struct WeightRange {
    int32_t bias_beats;
    int32_t bias;
    int32_t start;
    int32_t align;
    int32_t words;
    int32_t beats;  // of alignment and mantissas
};

inline WeightRange weight_range(const Layer &layer, const Pass &pass) {
    WeightRange range;
    const int32_t area = layer.kernel_height * layer.kernel_width;
    const bool weighted = layer.op == CONV || layer.op == DEPTHWISE;
    range.bias_beats = weighted ? BIAS_BEATS : 0;
    range.bias = layer.weight_address + pass.out_word * layer.word_beats;
    range.start = range.bias + BIAS_BEATS + pass.chunk * layer.chunk_beats;
    range.align = layer.op == CONV && layer.has_align ? pass.words : 0;
    range.words = layer.op == CONV ? pass.words * area * LANES : layer.op == DEPTHWISE ? area : 0;
    range.beats = range.align + beats(range.words, layer.weight_bits, 0);
    return range;
}

inline void fetch_weights(const Layer &layer, const Tile &tile, int32_t index, const Word *memory,
                          hls::stream<Word> &fetched) {
#pragma HLS INLINE off
    const WeightRange range = weight_range(layer, make_pass(layer, tile, index));
    if (range.bias_beats > 0) {
        count(BURSTS_WEIGHTS);
        count(BURSTS_WEIGHTS);
    }
FETCH_BIAS:
    for (int32_t i = 0; i < range.bias_beats; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=4
#pragma HLS PIPELINE II=1
        count(COUNT_FETCH_WEIGHTS);
        fetched.write(memory[range.bias + i]);
    }
FETCH_MANTISSAS:
    for (int32_t i = 0; i < range.beats; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=WEIGHT_STEPS*LANES
#pragma HLS PIPELINE II=1
        count(COUNT_FETCH_WEIGHTS);
        fetched.write(memory[range.start + i]);
    }
}

inline AccWord unpack_bias(const Word raw[BIAS_BEATS]) {
#pragma HLS INLINE
    AccWord bias;
    for (int f = 0; f < LANES; ++f) {
#pragma HLS UNROLL
        uint32_t value = 0;
        for (int byte = 0; byte < 4; ++byte) {
#pragma HLS UNROLL
            const int at = 4 * f + byte;
            value |= static_cast<uint32_t>(static_cast<uint8_t>(raw[at / LANES].lane[at % LANES])) << (8 * byte);
        }
        bias.lane[f] = static_cast<int32_t>(value);
    }
    return bias;
}

inline void load_dense(const Layer &layer, int32_t words, hls::stream<Word> &fetched,
                       Word dense[DENSE_ROWS][FILTERS]) {
#pragma HLS INLINE off
    LaneBits waiting = no_bits();
    int32_t row = 0;
    int32_t word = 0;
LOAD_DENSE:
    for (int32_t i = 0; i < words; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS*LANES
#pragma HLS PIPELINE II=1
        count(COUNT_LOAD_DENSE);
        dense[row][word] = take_word(waiting, layer.weight_bits, 0, fetched);
        if (word == FILTERS - 1) {
            word = 0;
            row += 1;
        } else {
            word += 1;
        }
    }
}

inline void load_depthwise(const Layer &layer, int32_t words, hls::stream<Word> &fetched,
                           Word depthwise[WEIGHT_STEPS]) {
#pragma HLS INLINE off
    LaneBits waiting = no_bits();
LOAD_DEPTHWISE:
    for (int32_t i = 0; i < words; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS
#pragma HLS PIPELINE II=1
        count(COUNT_LOAD_DEPTHWISE);
        depthwise[i] = take_word(waiting, layer.weight_bits, 0, fetched);
    }
}

inline void load_align(const Layer &layer, int32_t words, hls::stream<Word> &fetched, Word align[WEIGHT_STEPS]) {
#pragma HLS INLINE off
LOAD_ALIGN:
    for (int32_t i = 0; i < words; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS
#pragma HLS PIPELINE II=1
        count(COUNT_LOAD_ALIGN);
        if (layer.has_align) {
            align[i] = fetched.read();
        } else {
            align[i] = fill_word(0);
        }
    }
}

// Stage: lay out what one pass needs.
inline void load_weights(const Layer &layer, const Tile &tile, int32_t index, hls::stream<Word> &fetched,
                         hls::stream<AccWord> &bias, Word align[WEIGHT_STEPS], Word dense[DENSE_ROWS][FILTERS],
                         Word depthwise[WEIGHT_STEPS]) {
#pragma HLS INLINE off
    const Pass pass = make_pass(layer, tile, index);
    const WeightRange range = weight_range(layer, pass);
    Word raw[BIAS_BEATS];
#pragma HLS ARRAY_PARTITION variable=raw complete
LOAD_BIAS:
    for (int32_t i = 0; i < range.bias_beats; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=4
#pragma HLS PIPELINE II=1
        count(COUNT_LOAD_BIAS);
        raw[i] = fetched.read();
    }
    if (layer.op == CONV) {
        bias.write(unpack_bias(raw));
        load_align(layer, pass.words, fetched, align);
        load_dense(layer, range.words, fetched, dense);
    } else if (layer.op == DEPTHWISE) {
        bias.write(unpack_bias(raw));
        load_depthwise(layer, range.words, fetched, depthwise);
    }
}

}  // namespace sbfp
