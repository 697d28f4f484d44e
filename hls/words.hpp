// Words that travel through memory and streams, and what is done to their lanes.
#pragma once

#include <cstdint>

#include "config.hpp"

namespace sbfp {

static_assert(LANES >= 2 && (LANES & (LANES - 1)) == 0, "LANES must be a power of two");
static_assert(FILTERS >= 1 && LANES % FILTERS == 0, "FILTERS must divide LANES");
static_assert(PRODUCTS == 1 || (PRODUCTS == 2 && FILTERS % 2 == 0) ||
                  (PRODUCTS == 4 && FILTERS % 2 == 0 && PIXELS % 2 == 0),
              "packed products share two filters, and at four of them two pixels");
static_assert(LANES % CHAIN == 0, "CHAIN must divide LANES");
static_assert(INPUT_WORDS % BANKS == 0, "the input buffer has whole rows of banks");
static_assert(PIXELS <= BANKS * READS, "every pixel lane needs a port of a bank");

// A word of output channels is computed in so many parts, one after the other.
constexpr int PARTS = LANES / FILTERS;

// The mantissas of LANES consecutive channels of one pixel, a byte each; also
// one beat of memory, where they are packed (see packing.hpp).
struct Word {
    int8_t lane[LANES];
};

// One small constant per channel of a word: shifts.
struct TableRow {
    int8_t lane[LANES];
};

// One accumulator per channel of a word.
struct AccWord {
    int32_t lane[LANES];
};

// What one iteration of a compute stage can finish: PIXELS output pixels.
struct AccBlock {
    int32_t pixel[PIXELS][LANES];
};

inline AccBlock zero_block() {
#pragma HLS INLINE
    AccBlock block;
    for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
        for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
            block.pixel[p][c] = 0;
        }
    }
    return block;
}

inline Word fill_word(int32_t value) {
#pragma HLS INLINE
    Word word;
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        word.lane[c] = static_cast<int8_t>(value);
    }
    return word;
}

// Left shift of a signed value; the bound proved for the layer keeps it inside 32 bits.
inline int32_t shift_left(int32_t value, int32_t by) {
    return static_cast<int32_t>(static_cast<uint32_t>(value) << by);
}

// Mantissa to operand: signed and unsigned tensors share the byte in memory.
inline int16_t operand(int8_t mantissa, int32_t is_unsigned) {
    return is_unsigned ? static_cast<int16_t>(static_cast<uint8_t>(mantissa)) : static_cast<int16_t>(mantissa);
}

// Lowest `bits` bits, sign-extended: values known to have no more, so that operators are no wider.
inline int32_t narrow(int32_t value, int bits) {
#pragma HLS INLINE
    return static_cast<int32_t>(static_cast<uint32_t>(value) << (32 - bits)) >> (32 - bits);
}

// Lane by lane, the larger mantissa.
inline Word largest(Word a, Word b, int32_t is_unsigned) {
#pragma HLS INLINE
    Word result;
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        result.lane[c] = operand(a.lane[c], is_unsigned) > operand(b.lane[c], is_unsigned) ? a.lane[c] : b.lane[c];
    }
    return result;
}

}  // namespace sbfp
