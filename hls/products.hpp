// The multipliers: products of one input word of every pixel with FILTERS
// filters, several products to a DSP where the mantissas are narrow enough.
//
// Two products (PRODUCTS == 2): two filters share an activation,
//     p += ((w1 << 18) + w0) * a
// over CHAIN input channels. With |sum of w0 * a| < 2**17 the low 18 bits are
// the one sum and the rest, plus the borrow in bit 17, the other.
//
// Four products (PRODUCTS == 4): two filters and two pixels,
//     p += ((w1 << 22) + w0) * ((a1 << 11) + a0)
// with four sums in fields of 11 bits, each below 2**10.
//
// The generated CHAIN is what the network's widths allow; see docs/architecture.md.
#pragma once

#include "types.hpp"

namespace sbfp {

// Sums of one input word: a row of FILTERS for each pixel.
struct Sums {
    int32_t pixel[PIXELS][FILTERS];
};

// Lowest `bits` bits of p, sign-extended; and what is above them, with their borrow.
inline int32_t low_field(int64_t p, int bits) {
#pragma HLS INLINE
    const uint32_t up = static_cast<uint32_t>(p) << (32 - bits);
    return static_cast<int32_t>(up) >> (32 - bits);
}

inline int64_t above_field(int64_t p, int bits) {
#pragma HLS INLINE
    return (p >> bits) + ((p >> (bits - 1)) & 1);
}

// Mantissa of filter f for input channel c: two or more channels share a word.
inline int32_t weight(const Word weights[FILTERS], int c, int f) {
#pragma HLS INLINE
    return weights[c * FILTERS / LANES].lane[c * FILTERS % LANES + f];
}

inline void single_products(const Word activations[PIXELS], int32_t is_unsigned, const Word weights[FILTERS],
                            Sums &sums) {
#pragma HLS INLINE
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
            const int32_t a = operand(activations[p].lane[c], is_unsigned);
            for (int f = 0; f < FILTERS; ++f) {
#pragma HLS UNROLL
                sums.pixel[p][f] += a * weight(weights, c, f);
            }
        }
    }
}

inline void double_products(const Word activations[PIXELS], int32_t is_unsigned, const Word weights[FILTERS],
                            Sums &sums) {
#pragma HLS INLINE
    constexpr int PAIRS = FILTERS / 2 > 0 ? FILTERS / 2 : 1;
    int32_t pair[LANES][PAIRS];
#pragma HLS ARRAY_PARTITION variable=pair complete dim=0
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
            pair[c][j] = weight(weights, c, j + PAIRS) * (1 << 18) + weight(weights, c, j);
        }
    }
    for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
        for (int chain = 0; chain < LANES; chain += CHAIN) {
#pragma HLS UNROLL
            int64_t total[PAIRS];
#pragma HLS ARRAY_PARTITION variable=total complete
            for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                total[j] = 0;
            }
            for (int c = chain; c < chain + CHAIN; ++c) {
#pragma HLS UNROLL
                const int32_t a = operand(activations[p].lane[c], is_unsigned);
                for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                    total[j] += static_cast<int64_t>(pair[c][j]) * a;
                }
            }
            for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                sums.pixel[p][j] += low_field(total[j], 18);
                sums.pixel[p][j + PAIRS] += static_cast<int32_t>(above_field(total[j], 18));
            }
        }
    }
}

inline void quad_products(const Word activations[PIXELS], int32_t is_unsigned, const Word weights[FILTERS],
                          Sums &sums) {
#pragma HLS INLINE
    constexpr int PAIRS = FILTERS / 2 > 0 ? FILTERS / 2 : 1;
    constexpr int TWINS = PIXELS / 2 > 0 ? PIXELS / 2 : 1;
    int32_t pair[LANES][PAIRS];
#pragma HLS ARRAY_PARTITION variable=pair complete dim=0
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
            pair[c][j] = weight(weights, c, j + PAIRS) * (1 << 22) + weight(weights, c, j);
        }
    }
    for (int t = 0; t < TWINS; ++t) {
#pragma HLS UNROLL
        for (int chain = 0; chain < LANES; chain += CHAIN) {
#pragma HLS UNROLL
            int64_t total[PAIRS];
#pragma HLS ARRAY_PARTITION variable=total complete
            for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                total[j] = 0;
            }
            for (int c = chain; c < chain + CHAIN; ++c) {
#pragma HLS UNROLL
                const int32_t twin = operand(activations[t + TWINS].lane[c], is_unsigned) * (1 << 11) +
                                     operand(activations[t].lane[c], is_unsigned);
                for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                    total[j] += static_cast<int64_t>(pair[c][j]) * twin;
                }
            }
            for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                const int64_t second = above_field(total[j], 11);
                const int64_t third = above_field(second, 11);
                sums.pixel[t][j] += low_field(total[j], 11);
                sums.pixel[t + TWINS][j] += low_field(second, 11);
                sums.pixel[t][j + PAIRS] += low_field(third, 11);
                sums.pixel[t + TWINS][j + PAIRS] += static_cast<int32_t>(above_field(third, 11));
            }
        }
    }
}

// Dot products of one input word: PIXELS x FILTERS sums over LANES channels.
inline Sums products(const Word activations[PIXELS], int32_t is_unsigned, const Word weights[FILTERS]) {
#pragma HLS INLINE
    Sums sums;
    for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
        for (int f = 0; f < FILTERS; ++f) {
#pragma HLS UNROLL
            sums.pixel[p][f] = 0;
        }
    }
    if (PRODUCTS == 4) {
        quad_products(activations, is_unsigned, weights, sums);
    } else if (PRODUCTS == 2) {
        double_products(activations, is_unsigned, weights, sums);
    } else {
        single_products(activations, is_unsigned, weights, sums);
    }
    return sums;
}

}  // namespace sbfp
