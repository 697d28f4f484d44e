// From sums to mantissas: reciprocals of averages, rounding shift, saturation.
#pragma once

#include "layer.hpp"
#include "tables.hpp"
#include "words.hpp"

namespace sbfp {

// (acc + (1 << (r - 1))) >> r, half up; r <= 0 shifts left. least, mask: constants,
// the least r of all, and the bits of what others have more; from one on, only
// these few bits choose.
inline int32_t round_shift(int32_t acc, int32_t r, int32_t least, int32_t mask) {
#pragma HLS INLINE
    if (least < 1) {
        const int32_t half = r > 0 ? 1 << (r - 1) : 0;
        return r > 0 ? (acc + half) >> r : shift_left(acc, least < 0 ? -r : 0);
    }
    const int32_t always = least < 1 ? 1 : least;
    const int32_t more = (r - always) & mask;
    const int32_t half = (1 << (always - 1)) << more;
    return ((acc + half) >> always) >> more;
}

inline int32_t saturate(int32_t value, int32_t low, int32_t high) {
#pragma HLS INLINE
    return value < low ? low : value > high ? high : value;
}

// Rows (or columns) of a window that count, between the bounds that do.
inline int32_t counted(int32_t start, int32_t kernel, int32_t low, int32_t high) {
#pragma HLS INLINE
    const int32_t from = start > low ? start : low;
    const int32_t to = start + kernel < high ? start + kernel : high;
    return to - from;
}

// Reciprocal of the divisor of pooled pixel (y, x), times 2^RECIPROCAL_BITS; not above one.
inline int32_t reciprocal(const Layer &layer, int32_t kernel_height, int32_t kernel_width, int32_t y, int32_t x) {
#pragma HLS INLINE
    const int32_t rows =
        counted(y * layer.stride_height - layer.pad_top, kernel_height, layer.count_top, layer.count_bottom);
    const int32_t cols =
        counted(x * layer.stride_width - layer.pad_left, kernel_width, layer.count_left, layer.count_right);
    const int32_t at = layer.reciprocal_row + (rows - layer.rows_min) * layer.cols_span + cols - layer.cols_min;
    return RECIPROCAL[at] & ((2 << RECIPROCAL_BITS) - 1);
}

}  // namespace sbfp
