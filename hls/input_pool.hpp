// Stage: pooling of a map as it loads, before 1x1 convolutions. Layers without it
// pass their words on. A window lies in the last three rows, of which two wait
// here, or it is the whole map (codegen/lowering/fusion.py).
#pragma once

#include "dependence_check.hpp"
#include "hls_stream.h"
#include "jobs.hpp"
#include "rounding.hpp"
#include "trace.hpp"
#include "words.hpp"

namespace sbfp {

static_assert(INPUT_POOLING_MEMBERS == 3, "a pooling of inputs that is neither a mean nor the largest");

// Accesses to a column's rows are a row apart; narrower maps are pooled whole, or by a job.
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
    int32_t word;          // row of its shifts
    int32_t y;
    int32_t x;
    int32_t down;          // entry of the pooled row for its reciprocals, and of the column
    int32_t across;
    int32_t rows_left;     // until a row ends windows, and a column
    int32_t columns_left;
};

inline void first_row(const LoadJob &job, PoolWalk &walk) {
#pragma HLS INLINE
    walk.y = 0;
    walk.down = job.in_average_row;
    walk.rows_left = job.in_pool_height - 1;
}

inline void first_column(const LoadJob &job, PoolWalk &walk) {
#pragma HLS INLINE
    walk.x = 0;
    walk.across = job.in_average_column;
    walk.columns_left = job.in_pool_width - 1;
}

// Columns or rows until the next one that ends windows; `left` may be anything where nothing is pooled.
template <int32_t WINDOW, int32_t STRIDE>
inline int32_t fewer(int32_t left, int32_t stride) {
#pragma HLS INLINE
    return low_bits<(WINDOW > STRIDE ? WINDOW : STRIDE)>(left == 0 ? stride - 1 : left - 1);
}

inline void next_word(const LoadJob &job, PoolWalk &walk) {
#pragma HLS INLINE
    if (walk.x != job.columns - 1) {
        walk.across = low_bits<AVERAGE_COLUMNS>(walk.across + (walk.columns_left == 0 ? 1 : 0));
        walk.x = bounded<LoadJob::MOST_COLUMNS>(walk.x + 1);
        walk.columns_left =
            fewer<LoadJob::MOST_IN_POOL_WIDTH, LoadJob::MOST_IN_POOL_ACROSS>(walk.columns_left, job.in_pool_across);
    } else {
        first_column(job, walk);
        if (walk.y != job.rows - 1) {
            walk.down = low_bits<AVERAGE_ROWS>(walk.down + (walk.rows_left == 0 ? 1 : 0));
            walk.y = bounded<LoadJob::MOST_ROWS>(walk.y + 1);
            walk.rows_left =
                fewer<LoadJob::MOST_IN_POOL_HEIGHT, LoadJob::MOST_IN_POOL_DOWN>(walk.rows_left, job.in_pool_down);
        } else {
            first_row(job, walk);
            walk.word = low_bits<INPUT_POOL_ROWS>(walk.word + 1);
        }
    }
}

static inline void input_pool(const LoadRow &job_row, hls::stream<Word> &unpacked, hls::stream<Word> &columns) {
#pragma HLS INLINE off
    // what an earlier call left is read, and not used: a plane's first rows end no window
    static RowsBefore before[INPUT_POOL_COLUMNS];
#pragma HLS AGGREGATE variable=before
#pragma HLS AGGREGATE variable=INPUT_POOL_SHIFT
    const LoadJob job = load_job(job_row);
    const bool pools = HAS_INPUT_POOL && job.in_pool != UNPOOLED;
    const bool average = HAS_INPUT_MEAN && job.in_pool == MEAN;
    const bool slides = HAS_INPUT_SLIDES && pools && job.in_pool_whole == 0;
    PoolWalk at;
    at.word = job.in_pool_row;
    first_row(job, at);
    first_column(job, at);
    // sums, or largest mantissas: of the last columns, each over the window's rows, and of the map so far
    AccWord newest = fill<int32_t, LANES>(0);
    AccWord older = newest;
    AccWord whole = newest;
    DependenceCheck<INPUT_POOL_COLUMNS> check("before", INPUT_POOL_DISTANCE);
INPUT_POOL_WORDS:
    for (int32_t n = 0; n < job.pool_words; n = bounded<LoadJob::MOST_POOL_WORDS>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=65536
#pragma HLS PIPELINE II=1
// A column's rows are read and written once per row, and a row has at least
// INPUT_POOL_DISTANCE columns.
#pragma HLS DEPENDENCE variable=before type=inter false
        count(COUNT_INPUT_POOL);
        const Word value = unpacked.read();
        if (!pools) {
            columns.write(value);
        } else {
            const Operand as_operand = {job.in_unsigned};
            const AccWord own = map<int32_t>(as_operand, value);
            AccWord column = own;
            if (slides) {
                check.read(n, at.x);
                const RowsBefore rows = before[at.x];
                const Word last = lanes_from<LANES>(rows, 0);
                const AccWord last_row = map<int32_t>(as_operand, last);
                const AccWord older_row = map<int32_t>(as_operand, lanes_from<LANES>(rows, LANES));
                column = map<int32_t>(Joined{job.in_pool_height > 1, average}, column, last_row);
                column = map<int32_t>(Joined{job.in_pool_height > 2, average}, column, older_row);
                check.write(n, at.x);
                before[at.x] = join(value, last);
            }
            AccWord window = column;
            if (HAS_INPUT_SLIDES) {
                window = map<int32_t>(Joined{job.in_pool_width > 1, average}, window, newest);
                window = map<int32_t>(Joined{job.in_pool_width > 2, average}, window, older);
                older = newest;
                newest = column;
            }
            if (HAS_INPUT_WHOLE) {
                whole = map<int32_t>(Joined{at.y > 0 || at.x > 0, average}, own, whole);
            }
            if (at.rows_left == 0 && at.columns_left == 0) {
                const int32_t factor = average ? reciprocal(at.down, at.across) : 0;
                const TableRow shift = INPUT_POOL_SHIFT[average ? at.word : 0];
                const FinishWindow finish = {average, factor, job.in_pool_low, job.in_pool_high};
                columns.write(map<int8_t>(finish, map<int32_t>(Choose{slides}, window, whole), shift));
            }
            next_word(job, at);
        }
    }
}

}  // namespace sbfp
