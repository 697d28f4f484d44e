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

static_assert(INPUT_POOLING_MEMBERS == 3, "a pooling of inputs that is neither a mean nor the largest");

// Accesses to a column's rows are a row apart; narrower maps are pooled whole, or by a layer.
constexpr int32_t INPUT_POOL_DISTANCE = 8;

// A column of the two rows before: the lanes of the last one, then those of the older one.
using RowsBefore = Lanes<int8_t, 2 * LANES>;

// Into a window, where `takes` says so: a sum or the larger one.
struct Joined {
    bool takes;
    bool average;
    int32_t operator()(int32_t window, int32_t more) const {
#pragma HLS INLINE
        const int32_t sum = narrow(window + more, MEAN_BITS);
        const int32_t larger = more > window ? more : window;
        return !takes ? window : average ? sum : larger;
    }
};

// Mantissa of the pooled map. factor: reciprocal of what a mean counts; low, high: least and largest mantissa.
struct FinishWindow {
    bool average;
    int32_t factor;
    int32_t low;
    int32_t high;
    int8_t operator()(int32_t window, int8_t shift) const {
#pragma HLS INLINE
        const int32_t rounded = round_shift<INPUT_MEAN_LEAST, INPUT_MEAN_MASK>(mean(window, factor), shift);
        return static_cast<int8_t>(saturate(average ? rounded : window, low, high));
    }
};

// Where a word of the map lies, padding included, and which windows it ends.
struct PoolWalk {
    int32_t word;
    int32_t y;
    int32_t x;
    int32_t down;          // row of the pooled map, and column
    int32_t across;
    int32_t rows_left;     // until a row ends windows, and a column
    int32_t columns_left;
};

inline void first_row(const Layer &layer, PoolWalk &walk) {
#pragma HLS INLINE
    walk.y = 0;
    walk.down = 0;
    walk.rows_left = layer.in_pool_height - 1;
}

inline void first_column(const Layer &layer, PoolWalk &walk) {
#pragma HLS INLINE
    walk.x = 0;
    walk.across = 0;
    walk.columns_left = layer.in_pool_width - 1;
}

inline void next_word(const Layer &layer, const Tile &tile, PoolWalk &walk) {
#pragma HLS INLINE
    if (walk.x != tile.map_columns - 1) {
        const bool ends = walk.columns_left == 0;
        walk.x += 1;
        walk.across += ends ? 1 : 0;
        walk.columns_left = ends ? layer.stride_width - 1 : walk.columns_left - 1;
    } else {
        first_column(layer, walk);
        if (walk.y != tile.map_rows - 1) {
            const bool ends = walk.rows_left == 0;
            walk.y += 1;
            walk.down += ends ? 1 : 0;
            walk.rows_left = ends ? layer.stride_height - 1 : walk.rows_left - 1;
        } else {
            first_row(layer, walk);
            walk.word += 1;
        }
    }
}

static inline void input_pool(const Layer &layer, const Tile &tile, const Slice &slice, hls::stream<Word> &unpacked,
                              hls::stream<Word> &columns) {
#pragma HLS INLINE off
    // what an earlier call left is read, and not used: a plane's first rows end no window
    static RowsBefore before[INPUT_POOL_COLUMNS];
#pragma HLS AGGREGATE variable=before
#pragma HLS AGGREGATE variable=INPUT_POOL_SHIFT
    const bool pools = HAS_INPUT_POOL && layer.in_pool != UNPOOLED;
    const bool average = HAS_INPUT_MEAN && layer.in_pool == MEAN;
    const bool slides = HAS_INPUT_SLIDES && pools && layer.in_pool_whole == 0;
    const int32_t total = slice.map_lines * tile.map_columns;
    PoolWalk at;
    at.word = slice.word;
    first_row(layer, at);
    first_column(layer, at);
    // sums, or largest mantissas: of the last columns, each over the window's rows, and of the map so far
    AccWord newest = fill<int32_t, LANES>(0);
    AccWord older = newest;
    AccWord whole = newest;
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
            const Operand as_operand = {layer.in_unsigned};
            const AccWord own = map<int32_t>(as_operand, value);
            AccWord column = own;
            if (slides) {
                check.read(n, at.x);
                const RowsBefore rows = before[at.x];
                const Word last = lanes_from<LANES>(rows, 0);
                const AccWord last_row = map<int32_t>(as_operand, last);
                const AccWord older_row = map<int32_t>(as_operand, lanes_from<LANES>(rows, LANES));
                column = map<int32_t>(Joined{layer.in_pool_height > 1, average}, column, last_row);
                column = map<int32_t>(Joined{layer.in_pool_height > 2, average}, column, older_row);
                check.write(n, at.x);
                before[at.x] = join(value, last);
            }
            AccWord window = column;
            if (HAS_INPUT_SLIDES) {
                window = map<int32_t>(Joined{layer.in_pool_width > 1, average}, window, newest);
                window = map<int32_t>(Joined{layer.in_pool_width > 2, average}, window, older);
                older = newest;
                newest = column;
            }
            if (HAS_INPUT_WHOLE) {
                whole = map<int32_t>(Joined{at.y > 0 || at.x > 0, average}, own, whole);
            }
            if (at.rows_left == 0 && at.columns_left == 0) {
                const int32_t y = tile.y + at.down;
                const int32_t factor =
                    average ? reciprocal(layer, layer.in_pool_height, layer.in_pool_width, y, at.across) : 0;
                const TableRow shift = INPUT_POOL_SHIFT[average ? layer.in_pool_row + at.word : 0];
                const FinishWindow finish = {average, factor, layer.in_pool_low, layer.in_pool_high};
                columns.write(map<int8_t>(finish, slides ? window : whole, shift));
            }
            next_word(layer, tile, at);
        }
    }
}

}  // namespace sbfp
