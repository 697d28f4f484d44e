// Weights, bias and alignment shifts of one pass, as they lie in memory and on chip.
//
// In memory, per word of output channels and per chunk of input words: the bias
// (four beats: LANES 32-bit integers, little endian), the alignment shifts (one
// beat per input word, only where the layer has any) and the mantissas, packed
// (see packing.hpp): for each part of FILTERS filters, for each step (an input
// word at a kernel position), FILTERS words with FILTERS mantissas of each of
// LANES input channels. A depthwise step is one word. What a pass needs is one burst.
#pragma once

#include "packing.hpp"
#include "trace.hpp"
#include "walk.hpp"

namespace sbfp {

static_assert(ENGINE_OPERATOR_MEMBERS == 6, "an operator of which it is not known whether it has weights");

constexpr int BIAS_BEATS = 4;

// Rows of the on-chip buffer of dense weights: FILTERS words each.
constexpr int DENSE_ROWS = WEIGHT_STEPS * PARTS;

// What one pass reads, from `start` on, for each of its output words.
struct WeightRange {
    int32_t outputs;
    int32_t start;
    int32_t align;  // beats of alignment shifts
    int32_t words;  // of mantissas
    int32_t beats;  // of bias, alignment shifts and mantissas
};

inline WeightRange weight_range(const Layer &layer, const Pass &pass) {
    WeightRange range;
    const int32_t area = layer.kernel_height * layer.kernel_width;
    range.outputs = layer.op == CONV || layer.op == DEPTHWISE ? pass.outputs : 0;
    range.start = layer.weight_address + pass.out_word * layer.word_beats + pass.chunk * layer.chunk_beats;
    range.align = layer.has_align ? pass.words : 0;
    range.words = layer.op == CONV ? pass.words * area * LANES : area;
    range.beats = BIAS_BEATS + range.align + beats(range.words, layer.weight_bits, 0);
    return range;
}

inline void fetch_weights(const Layer &layer, const Pass &pass, const Word *memory, hls::stream<Word> &fetched) {
#pragma HLS INLINE off
    const WeightRange range = weight_range(layer, pass);
    const int32_t total = range.outputs * range.beats;
    if (total > 0) {
        count(layer, BURSTS_WEIGHTS);
    }
FETCH_WEIGHTS:
    for (int32_t i = 0; i < total; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=WEIGHT_STEPS*LANES
#pragma HLS PIPELINE II=1
        count(layer, COUNT_FETCH_WEIGHTS);
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

// Two words a cycle, where they are there and lie in different columns of the buffer.
inline void load_dense(const Layer &layer, int32_t first_row, int32_t words, hls::stream<Word> &fetched,
                       Word dense[DENSE_ROWS][FILTERS]) {
#pragma HLS INLINE off
    LaneBits waiting = no_bits();
    int32_t row = first_row;
    int32_t word = 0;
    int32_t left = words;
    const int32_t takes = FILTERS > 1 ? takes_of_two(words, layer.weight_bits) : words;
LOAD_DENSE:
    for (int32_t i = 0; i < takes; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS*LANES
#pragma HLS PIPELINE II=1
        count(layer, COUNT_LOAD_DENSE);
        const TwoWords two = take_two(waiting, layer.weight_bits, FILTERS > 1 ? left : 1, fetched);
        const bool wraps = word == FILTERS - 1;
        const int32_t next_row = wraps ? row + 1 : row;
        const int32_t next_word = wraps ? 0 : word + 1;
        for (int f = 0; f < FILTERS; ++f) {
#pragma HLS UNROLL
            if (f == word) {
                dense[row][f] = two.first;
            } else if (f == next_word && two.count == 2) {
                dense[next_row][f] = two.second;
            }
        }
        if (two.count == 1) {
            row = next_row;
            word = next_word;
        } else {
            row = next_word == FILTERS - 1 ? next_row + 1 : next_row;
            word = next_word == FILTERS - 1 ? 0 : next_word + 1;
        }
        left -= two.count;
    }
}

inline void load_depthwise(const Layer &layer, int32_t first, int32_t words, hls::stream<Word> &fetched,
                           Word depthwise[DEPTHWISE_STEPS]) {
#pragma HLS INLINE off
    LaneBits waiting = no_bits();
LOAD_DEPTHWISE:
    for (int32_t i = 0; i < words; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS
#pragma HLS PIPELINE II=1
        count(layer, COUNT_LOAD_DEPTHWISE);
        depthwise[first + i] = take_word(waiting, layer.weight_bits, 0, fetched);
    }
}

inline void load_align(const Layer &layer, int32_t first, int32_t words, hls::stream<Word> &fetched,
                       Word align[WEIGHT_STEPS]) {
#pragma HLS INLINE off
LOAD_ALIGN:
    for (int32_t i = 0; i < words; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS
#pragma HLS PIPELINE II=1
        count(layer, COUNT_LOAD_ALIGN);
        if (layer.has_align) {
            align[first + i] = fetched.read();
        } else {
            align[first + i] = fill<int8_t, LANES>(0);
        }
    }
}

inline AccWord load_bias(const Layer &layer, hls::stream<Word> &fetched) {
#pragma HLS INLINE off
    Word raw[BIAS_BEATS];
#pragma HLS AGGREGATE variable=raw
#pragma HLS ARRAY_PARTITION variable=raw complete
LOAD_BIAS:
    for (int32_t i = 0; i < BIAS_BEATS; ++i) {
#pragma HLS PIPELINE II=1
        count(layer, COUNT_LOAD_BIAS);
        raw[i] = fetched.read();
    }
    return unpack_bias(raw);
}

// Stage: lay out what one pass needs, one output word after the other.
inline void load_weights(const Layer &layer, const Pass &pass, hls::stream<Word> &fetched, AccWord bias[GROUP_WORDS],
                         Word align[WEIGHT_STEPS], Word dense[DENSE_ROWS][FILTERS], Word depthwise[DEPTHWISE_STEPS]) {
#pragma HLS INLINE off
    const WeightRange range = weight_range(layer, pass);
    const int32_t rows = range.words / FILTERS;
    int32_t first = 0;       // weights of this output word
    int32_t first_align = 0;
LOAD_WORDS_OF_WEIGHTS:
    for (int32_t output = 0; output < range.outputs; ++output) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=GROUP_WORDS
        bias[output] = load_bias(layer, fetched);
        if (!HAS_DEPTHWISE || layer.op == CONV) {
            load_align(layer, first_align, pass.words, fetched, align);
            load_dense(layer, first, range.words, fetched, dense);
            first += rows;
        } else {
            load_depthwise(layer, first, range.words, fetched, depthwise);
            first += range.words;
        }
        first_align += pass.words;
    }
}

}  // namespace sbfp
