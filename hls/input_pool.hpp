// Stage: pooling of a map as it loads, before 1x1 convolutions. Layers without it
// pass their words on. A window lies in the last three rows, of which two wait
// here, or it is the whole map (codegen/lowering/fusion.py).
#pragma once

#include "dependence_check.hpp"
#include "fetch_tile.hpp"
#include "hls_stream.h"
#include "rounding.hpp"
#include "trace.hpp"
#include "walk.hpp"
#include "words.hpp"

namespace sbfp {

// Accesses to a column's rows are a row apart; narrower maps are pooled whole, or by a layer.
constexpr int32_t INPUT_POOL_DISTANCE = 8;

// A column of the two rows before.
struct RowsBefore {
    int8_t last[LANES];
    int8_t older[LANES];
};

// Sums, or largest mantissas, of the lanes.
struct Pooled {
    int32_t lane[LANES];
};

// Into a window, where `takes` says so: a sum or the larger one.
inline Pooled with(const Layer &layer, const Pooled &pooled, bool takes, const Pooled &more) {
#pragma HLS INLINE
    Pooled result;
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        const int32_t sum = narrow(pooled.lane[c] + more.lane[c], MEAN_BITS);
        const int32_t larger = more.lane[c] > pooled.lane[c] ? more.lane[c] : pooled.lane[c];
        const bool average = HAS_INPUT_MEAN && layer.in_pool == MEAN;
        result.lane[c] = !takes ? pooled.lane[c] : average ? sum : larger;
    }
    return result;
}

inline Pooled operands(const Layer &layer, const int8_t mantissas[LANES]) {
#pragma HLS INLINE
    Pooled result;
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        result.lane[c] = operand(mantissas[c], layer.in_unsigned);
    }
    return result;
}

// Mantissas of the pooled map. factor: reciprocal of what a mean counts.
inline Word pooled_word(const Layer &layer, const Pooled &window, int32_t factor, const TableRow &shift) {
#pragma HLS INLINE
    Word result;
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        // two DSPs: MEAN_BITS by the low 17 and by the high bits of the reciprocal
        const int32_t mean = narrow(window.lane[c], MEAN_BITS) * factor;
#pragma HLS BIND_OP variable=mean op=mul impl=dsp
        const int32_t rounded = round_shift(mean, shift.lane[c], INPUT_MEAN_LEAST, INPUT_MEAN_MASK);
        const bool average = HAS_INPUT_MEAN && layer.in_pool == MEAN;
        const int32_t value = average ? rounded : window.lane[c];
        result.lane[c] = static_cast<int8_t>(saturate(value, layer.in_pool_low, layer.in_pool_high));
    }
    return result;
}

inline void input_pool(const Layer &layer, const Tile &tile, const Slice &slice, hls::stream<Word> &unpacked,
                       hls::stream<Word> &columns) {
#pragma HLS INLINE off
    // what an earlier call left is read, and not used: a plane's first rows end no window
    static RowsBefore before[INPUT_POOL_COLUMNS];
#pragma HLS AGGREGATE variable=before
    const bool pools = HAS_INPUT_POOL && layer.in_pool != UNPOOLED;
    const bool mean = HAS_INPUT_MEAN && layer.in_pool == MEAN;
    const bool slides = HAS_INPUT_SLIDES && pools && layer.in_pool_whole == 0;
    const int32_t total = slice.map_lines * tile.map_columns;
    int32_t word = slice.word;
    int32_t y = 0;      // of the map's rows and columns, padding included
    int32_t x = 0;
    int32_t down = 0;   // of the pooled map's
    int32_t across = 0;
    int32_t rows_left = layer.in_pool_height - 1;  // until a row ends windows, and a column
    int32_t columns_left = layer.in_pool_width - 1;
    Pooled newest;      // of the last columns, each over the window's rows
    Pooled older;
    Pooled whole;       // of the map so far
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        newest.lane[c] = 0;
        older.lane[c] = 0;
        whole.lane[c] = 0;
    }
    DependenceCheck<INPUT_POOL_COLUMNS> check("before", INPUT_POOL_DISTANCE);
INPUT_POOL_WORDS:
    for (int32_t n = 0; n < total; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=65536
#pragma HLS PIPELINE II=1
// A column's rows are read and written once per row, and a row has at least
// INPUT_POOL_DISTANCE columns.
#pragma HLS DEPENDENCE variable=before type=inter false
        count(layer, COUNT_INPUT_POOL);
        const Word value = unpacked.read();
        if (!pools) {
            columns.write(value);
        } else {
            const Pooled own = operands(layer, value.lane);
            Pooled column = own;
            if (slides) {
                check.read(n, x);
                const RowsBefore rows = before[x];
                column = with(layer, column, layer.in_pool_height > 1, operands(layer, rows.last));
                column = with(layer, column, layer.in_pool_height > 2, operands(layer, rows.older));
                RowsBefore shifted;
                for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
                    shifted.last[c] = value.lane[c];
                    shifted.older[c] = rows.last[c];
                }
                check.write(n, x);
                before[x] = shifted;
            }
            Pooled window = column;
            if (HAS_INPUT_SLIDES) {
                window = with(layer, window, layer.in_pool_width > 1, newest);
                window = with(layer, window, layer.in_pool_width > 2, older);
                older = newest;
                newest = column;
            }
            if (HAS_INPUT_WHOLE) {
                whole = with(layer, own, y > 0 || x > 0, whole);
            }
            const bool row_ends = rows_left == 0;
            if (row_ends && columns_left == 0) {
                const int32_t factor =
                    mean ? reciprocal(layer, layer.in_pool_height, layer.in_pool_width, tile.y + down, across) : 0;
                const TableRow shift = INPUT_POOL_SHIFT[mean ? layer.in_pool_row + word : 0];
                columns.write(pooled_word(layer, slides ? window : whole, factor, shift));
            }
            if (x != tile.map_columns - 1) {
                x += 1;
                across += columns_left == 0 ? 1 : 0;
                columns_left = columns_left == 0 ? layer.stride_width - 1 : columns_left - 1;
            } else {
                x = 0;
                across = 0;
                columns_left = layer.in_pool_width - 1;
                if (y != tile.map_rows - 1) {
                    y += 1;
                    down += row_ends ? 1 : 0;
                    rows_left = row_ends ? layer.stride_height - 1 : rows_left - 1;
                } else {
                    y = 0;
                    down = 0;
                    rows_left = layer.in_pool_height - 1;
                    word += 1;
                }
            }
        }
    }
}

}  // namespace sbfp
