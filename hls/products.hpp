// The multipliers: products of one input word of every pixel with FILTERS
// filters, several products to a DSP where the mantissas are narrow enough.
//
// Two products (PRODUCTS == 2): two filters share an activation,
//     p += ((w1 << 18) + w0) * a
// over CHAIN input channels, with |sum of w0 * a| < 2**17.
//
// Four products (PRODUCTS == 4): two filters and two pixels,
//     p += ((w1 << 22) + w0) * ((a1 << 11) + a0)
// with four sums in fields of 11 bits, each below 2**10.
//
// A field below the highest would borrow from the one above where its sum is
// negative. So p starts with half of each such field's range (for the DSP's third
// operand): all of them stay positive, and are cut out without a carry. The
// halves of all chains together are a power of two, half of the range of the
// summed fields: taking them off again flips the highest bit.
//
// The generated CHAIN is what the network's widths allow; see docs/architecture.md.
#pragma once

#include "words.hpp"

namespace sbfp {

// Sums of one input word: a row of FILTERS for each pixel.
struct Sums {
    int32_t pixel[PIXELS][FILTERS];
};

constexpr int CHAINS = LANES / CHAIN;

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
        uint32_t low[PAIRS];
#pragma HLS ARRAY_PARTITION variable=low complete
        for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
            low[j] = 0;
        }
        for (int chain = 0; chain < LANES; chain += CHAIN) {
#pragma HLS UNROLL
            int64_t total[PAIRS];
#pragma HLS ARRAY_PARTITION variable=total complete
            for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                total[j] = 1 << 17;
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
                low[j] += field(total[j], 0, 18);
                sums.pixel[p][j + PAIRS] += static_cast<int32_t>(total[j] >> 18);
            }
        }
        for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
            sums.pixel[p][j] = without_halves(low[j], 18);
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
    constexpr int64_t HALVES = (1ll << 10) + (1ll << 21) + (1ll << 32);
    for (int t = 0; t < TWINS; ++t) {
#pragma HLS UNROLL
        uint32_t fields[3][PAIRS];
#pragma HLS ARRAY_PARTITION variable=fields complete dim=0
        for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
            fields[0][j] = 0;
            fields[1][j] = 0;
            fields[2][j] = 0;
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
                const int32_t twin = operand(activations[t + TWINS].lane[c], is_unsigned) * (1 << 11) +
                                     operand(activations[t].lane[c], is_unsigned);
                for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                    total[j] += static_cast<int64_t>(pair[c][j]) * twin;
                }
            }
            for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
                fields[0][j] += field(total[j], 0, 11);
                fields[1][j] += field(total[j], 11, 11);
                fields[2][j] += field(total[j], 22, 11);
                sums.pixel[t + TWINS][j + PAIRS] += static_cast<int32_t>(total[j] >> 33);
            }
        }
        for (int j = 0; j < PAIRS; ++j) {
#pragma HLS UNROLL
            sums.pixel[t][j] = without_halves(fields[0][j], 11);
            sums.pixel[t + TWINS][j] = without_halves(fields[1][j], 11);
            sums.pixel[t][j + PAIRS] = without_halves(fields[2][j], 11);
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
