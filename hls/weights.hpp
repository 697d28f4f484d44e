// Weights, bias and alignment shifts of one pass, as they lie in memory and on chip.
//
// In memory, per word of output channels: the bias (four words: LANES 32-bit
// integers, little endian), then per chunk the alignment shifts (one word per
// input word, only where the layer has any) and the mantissas: for each part of
// FILTERS filters, for each step (an input word at a kernel position), FILTERS
// words with FILTERS mantissas of each of LANES input channels. A depthwise step
// is one word.
#pragma once

#include "types.hpp"

namespace sbfp {

constexpr int BIAS_WORDS = 4;

struct PassWeights {
    AccWord bias;
    Word align[WEIGHT_STEPS];
    Word dense[WEIGHT_STEPS * PARTS][FILTERS];
    Word depthwise[WEIGHT_STEPS];
};

inline AccWord unpack_bias(const Word raw[BIAS_WORDS]) {
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

inline void load_bias(const Word *memory, int32_t address, AccWord &bias) {
#pragma HLS INLINE off
    Word raw[BIAS_WORDS];
#pragma HLS ARRAY_PARTITION variable=raw complete
    count(BURSTS_WEIGHTS);
LOAD_BIAS:
    for (int i = 0; i < BIAS_WORDS; ++i) {
#pragma HLS PIPELINE II=1
        count(COUNT_LOAD_BIAS);
        raw[i] = memory[address + i];
    }
    bias = unpack_bias(raw);
}

inline void load_align(const Word *memory, int32_t address, int32_t has_align, int32_t words,
                       Word align[WEIGHT_STEPS]) {
#pragma HLS INLINE off
    if (has_align) {
        count(BURSTS_WEIGHTS);
LOAD_ALIGN:
        for (int32_t i = 0; i < words; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS
#pragma HLS PIPELINE II=1
            count(COUNT_LOAD_ALIGN);
            align[i] = memory[address + i];
        }
    } else {
CLEAR_ALIGN:
        for (int32_t i = 0; i < words; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS
#pragma HLS PIPELINE II=1
            align[i] = fill_word(0);
        }
    }
}

inline void load_dense(const Word *memory, int32_t address, int32_t steps,
                       Word dense[WEIGHT_STEPS * PARTS][FILTERS]) {
#pragma HLS INLINE off
    const int32_t total = steps * LANES;
    int32_t row = 0;
    int32_t word = 0;
    count(BURSTS_WEIGHTS);
LOAD_DENSE:
    for (int32_t i = 0; i < total; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS*LANES
#pragma HLS PIPELINE II=1
        count(COUNT_LOAD_DENSE);
        dense[row][word] = memory[address + i];
        if (word == FILTERS - 1) {
            word = 0;
            row += 1;
        } else {
            word += 1;
        }
    }
}

inline void load_depthwise(const Word *memory, int32_t address, int32_t steps, Word depthwise[WEIGHT_STEPS]) {
#pragma HLS INLINE off
    count(BURSTS_WEIGHTS);
LOAD_DEPTHWISE:
    for (int32_t i = 0; i < steps; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS
#pragma HLS PIPELINE II=1
        count(COUNT_LOAD_DEPTHWISE);
        depthwise[i] = memory[address + i];
    }
}

// Stage: fetch what one pass needs.
inline void load_weights(const Layer &layer, const Tile &tile, int32_t index, const Word *memory,
                         PassWeights &weights) {
#pragma HLS INLINE off
    const Pass pass = make_pass(layer, tile, index);
    const int32_t area = layer.kernel_height * layer.kernel_width;
    if (layer.op == CONV) {
        const int32_t per_word = area * LANES + (layer.has_align ? 1 : 0);
        const int32_t bias = layer.weight_address + pass.out_word * (BIAS_WORDS + layer.in_words * per_word);
        const int32_t chunk = bias + BIAS_WORDS + pass.tile_word * per_word;
        const int32_t align = layer.has_align ? pass.words : 0;
        load_bias(memory, bias, weights.bias);
        load_align(memory, chunk, layer.has_align, pass.words, weights.align);
        load_dense(memory, chunk + align, pass.words * area, weights.dense);
    } else if (layer.op == DEPTHWISE) {
        const int32_t bias = layer.weight_address + pass.out_word * (BIAS_WORDS + area);
        load_bias(memory, bias, weights.bias);
        load_depthwise(memory, bias + BIAS_WORDS, area, weights.depthwise);
    }
}

}  // namespace sbfp
