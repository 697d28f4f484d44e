// From sums to mantissas: reciprocals of averages, rounding shift, saturation.
#pragma once

#include "tables.hpp"
#include "words.hpp"

namespace sbfp {

// (acc + (1 << (r - 1))) >> r, half up; r <= 0 shifts left. LEAST, MASK: the least r
// of all, and the bits of what others have more; from one on, only these few bits choose.
template <int32_t LEAST, int32_t MASK>
inline int32_t round_shift(int32_t acc, int32_t r) {
#pragma HLS INLINE
    if (LEAST < 1) {
        const int32_t half = r > 0 ? 1 << (r - 1) : 0;
        return r > 0 ? (acc + half) >> r : shift_left(acc, LEAST < 0 ? -r : 0);
    }
    constexpr int32_t ALWAYS = LEAST < 1 ? 1 : LEAST;
    const int32_t more = (r - ALWAYS) & MASK;
    const int32_t half = (1 << (ALWAYS - 1)) << more;
    return ((acc + half) >> ALWAYS) >> more;
}

inline int32_t saturate(int32_t value, int32_t low, int32_t high) {
#pragma HLS INLINE
    return value < low ? low : value > high ? high : value;
}

// Mean of a window: its sum by the reciprocal of what counts. Two DSPs: MEAN_BITS
// by the low 17 and by the high bits of the reciprocal.
inline int32_t mean(int32_t sum, int32_t reciprocal) {
#pragma HLS INLINE
    const int32_t product = narrow(sum, MEAN_BITS) * reciprocal;
#pragma HLS BIND_OP variable=product op=mul impl=dsp
    return product;
}

// Reciprocal of the divisor of a pooled pixel, times 2^RECIPROCAL_BITS; not above one. row, column: its entries in the
// tables that lead there.
inline int32_t reciprocal(int32_t row, int32_t column) {
#pragma HLS INLINE
    return RECIPROCAL[RECIPROCAL_ROW[row] + RECIPROCAL_COLUMN[column]] & ((2 << RECIPROCAL_BITS) - 1);
}

}  // namespace sbfp
