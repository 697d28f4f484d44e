// The multipliers: products of one input word of every pixel with FILTERS
// filters, several products to a DSP where the mantissas are narrow enough.
//
// Two products (PRODUCTS == 2): two filters share an activation,
//     p += ((w1 << PAIR_BITS) + w0) * a
// over CHAIN input channels, with two sums in fields of PAIR_BITS bits.
//
// Four products (PRODUCTS == 4): two filters and two pixels,
//     p += ((w1 << 2 * QUAD_BITS) + w0) * ((a1 << QUAD_BITS) + a0)
// with four sums in fields of QUAD_BITS bits. Sums stay below half of a field's
// range, pairs of weights within the DSP's wider port, those of activations within
// the narrower one.
//
// A field below the highest would borrow from the one above where its sum is
// negative. So p starts with half of each such field's range (for the DSP's third
// operand): all of them stay positive, and are cut out without a carry. The
// halves of all chains together are a power of two, half of the range of the
// summed fields: taking them off again flips the highest bit.
//
// Mantissas that are wider than LARGEST_WEIGHT or LARGEST_OPERAND go as two digits,
//     high * 2**DIGIT_BITS + low
// (low from 0 on, high with the mantissa's sign), whose products are summed in cycles of their own.
//
// The generated CHAIN is what the network's widths allow; see docs/architecture.md.
//
// A chain is meant to be one: each sum goes on in the next DSP's own adder. The
// compiler would make a tree of it, of adders in logic. It is told not to in
// conv_pass, into which this is inlined: of what is inlined, such pragmas are lost.
#pragma once

#include "words.hpp"

namespace sbfp {

static_assert(PRODUCTS == 1 || (PRODUCTS == 2 && FILTERS % 2 == 0) ||
                  (PRODUCTS == 4 && FILTERS % 2 == 0 && PIXELS % 2 == 0),
              "packed products share two filters, and at four of them two pixels");
static_assert(LANES % CHAIN == 0, "CHAIN must divide LANES");

// Sums of one input word: FILTERS for each pixel.
using Sums = Block<FILTERS>;

constexpr int CHAINS = LANES / CHAIN;

// Whether a chain's sums stay below half of a field's range, and two weights, or the
// activations of shared_pixels pixels, that far apart within their port.
constexpr bool fits(int field_bits, int shared_pixels) {
    return CHAIN * LARGEST_WEIGHT * LARGEST_OPERAND < 1 << (field_bits - 1) &&
           LARGEST_WEIGHT < 1 << (WEIGHT_PORT_BITS - 1 - field_bits * shared_pixels) &&
           LARGEST_OPERAND < 1 << (OPERAND_PORT_BITS - 1 - field_bits * (shared_pixels - 1));
}

static_assert(PRODUCTS != 2 || fits(PAIR_BITS, 1), "two products do not fit a DSP");
static_assert(PRODUCTS != 4 || fits(QUAD_BITS, 2), "four products do not fit a DSP");
static_assert(!HAS_WIDE_WEIGHTS || LARGEST_WEIGHT >= (1 << DIGIT_BITS) - 1, "a digit of the weights is not taken");
static_assert(!HAS_WIDE_OPERANDS || LARGEST_OPERAND >= (1 << DIGIT_BITS) - 1, "a digit of the activations is not taken");

// Of weights and activations, whether they go as digits, and whether these are the high ones now.
struct Digits {
    bool wide_weights;
    bool high_weights;
    bool wide_operands;
    bool high_operands;
};

// What is multiplied of a mantissa in this cycle.
inline int32_t digit(int32_t mantissa, bool wide, bool high) {
#pragma HLS INLINE
    const int32_t low = mantissa & ((1 << DIGIT_BITS) - 1);
    const int32_t part = high ? mantissa >> DIGIT_BITS : low;
    return wide ? part : mantissa;
}

// Field of `bits` bits from bit `from` on, as it was cut out: above its sum by half of its range.
inline uint32_t field(int64_t p, int from, int bits) {
#pragma HLS INLINE
    return static_cast<uint32_t>(p >> from) & ((1u << bits) - 1u);
}

// Total of the fields of all chains, less the halves: the highest bit flips and becomes the sign.
inline int32_t without_halves(uint32_t total, int bits) {
#pragma HLS INLINE
    const uint32_t half = static_cast<uint32_t>(CHAINS) << (bits - 1);
    const uint32_t flipped = total ^ half;
    const uint32_t sign = (flipped & half) != 0 ? ~(half - 1u) : 0u;
    return static_cast<int32_t>(flipped | sign);
}

// Mantissa of filter f for input channel c, or a digit of it: two or more channels share a word. It comes as a byte;
// the compiler cannot see how narrow it is, nor that two of them fit a port of a DSP, and is told so.
inline int32_t weight(const Word weights[FILTERS], const Digits &digits, int c, int f) {
#pragma HLS INLINE
    const int32_t mantissa = weights[c * FILTERS / LANES].lane[c * FILTERS % LANES + f];
    return narrow(digit(mantissa, digits.wide_weights, digits.high_weights), ARRAY_WEIGHT_BITS);
}

// And of an activation, of its byte.
inline int32_t activation(int8_t byte, int32_t is_unsigned, const Digits &digits) {
#pragma HLS INLINE
    return narrow(digit(operand(byte, is_unsigned), digits.wide_operands, digits.high_operands), ARRAY_OPERAND_BITS);
}

inline void single_products(const Word activations[PIXELS], int32_t is_unsigned, const Digits &digits,
                            const Word weights[FILTERS], Sums &sums) {
#pragma HLS INLINE
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
            const int32_t a = activation(activations[p].lane[c], is_unsigned, digits);
            for (int f = 0; f < FILTERS; ++f) {
#pragma HLS UNROLL
                sums.pixel[p][f] += a * weight(weights, digits, c, f);
            }
        }
    }
}

// Two filters and SHARED pixels to a DSP, in fields of BITS bits: of filter
// j + h * PAIRS and pixel t + s * GROUPS the field number h * SHARED + s.
template <int SHARED, int BITS>
inline void packed_products(const Word activations[PIXELS], int32_t is_unsigned, const Digits &digits,
                            const Word weights[FILTERS], Sums &sums) {
#pragma HLS INLINE
    constexpr int PAIRS = FILTERS / 2 > 0 ? FILTERS / 2 : 1;
    constexpr int GROUPS = PIXELS / SHARED > 0 ? PIXELS / SHARED : 1;
    constexpr int LOWER = 2 * SHARED - 1;  // fields below the highest
    // a one in the highest bit of each of them
    constexpr int64_t HALVES = ((1ll << (LOWER * BITS)) - 1) / ((1ll << BITS) - 1) << (BITS - 1);
    int32_t pair[LANES][PAIRS];
#pragma HLS ARRAY_PARTITION variable=pair complete dim=0
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
            const int32_t upper = weight(weights, digits, c, j + PAIRS) * (1 << (SHARED * BITS));
            pair[c][j] = narrow(upper + weight(weights, digits, c, j), WEIGHT_PORT_BITS);
        }
    }
    for (int t = 0; t < GROUPS; ++t) {
#pragma HLS UNROLL
        uint32_t fields[LOWER][PAIRS];
#pragma HLS ARRAY_PARTITION variable=fields complete dim=0
        for (int k = 0; k < LOWER; ++k) {
#pragma HLS UNROLL
            for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                fields[k][j] = 0;
            }
        }
        for (int chain = 0; chain < LANES; chain += CHAIN) {
#pragma HLS UNROLL
            int64_t total[PAIRS];
#pragma HLS ARRAY_PARTITION variable=total complete
            for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                total[j] = HALVES;
            }
            for (int c = chain; c < chain + CHAIN; ++c) {
#pragma HLS UNROLL
                int32_t a = 0;
                for (int s = 0; s < SHARED; ++s) {
#pragma HLS UNROLL
                    a += activation(activations[t + s * GROUPS].lane[c], is_unsigned, digits) * (1 << (s * BITS));
                }
                const int32_t beside = narrow(a, OPERAND_PORT_BITS);
                for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                    total[j] += static_cast<int64_t>(pair[c][j]) * beside;
                }
            }
            for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                for (int k = 0; k < LOWER; ++k) {
#pragma HLS UNROLL
                    fields[k][j] += field(total[j], k * BITS, BITS);
                }
                sums.pixel[t + (SHARED - 1) * GROUPS][j + PAIRS] += static_cast<int32_t>(total[j] >> (LOWER * BITS));
            }
        }
        for (int k = 0; k < LOWER; ++k) {
#pragma HLS UNROLL
            for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                sums.pixel[t + k % SHARED * GROUPS][j + k / SHARED * PAIRS] = without_halves(fields[k][j], BITS);
            }
        }
    }
}

// Dot products of one input word: PIXELS x FILTERS sums over LANES channels.
inline Sums products(const Word activations[PIXELS], int32_t is_unsigned, const Digits &digits,
                     const Word weights[FILTERS]) {
#pragma HLS INLINE
    Sums sums = zero_block<FILTERS>();
#pragma HLS ARRAY_PARTITION variable=sums.pixel complete dim=0
    if (PRODUCTS == 4) {
        packed_products<2, QUAD_BITS>(activations, is_unsigned, digits, weights, sums);
    } else if (PRODUCTS == 2) {
        packed_products<1, PAIR_BITS>(activations, is_unsigned, digits, weights, sums);
    } else {
        single_products(activations, is_unsigned, digits, weights, sums);
    }
    return sums;
}

}  // namespace sbfp
