// Stage: mean of average pooling, share of a difference, alignment and bias of what did not come through
// the dense array, shortcut, activation, one requantisation shift, saturation, the
// table of a function; a word a cycle.
#pragma once

#include "hls_stream.h"
#include "jobs.hpp"
#include "rounding.hpp"
#include "tables.hpp"
#include "trace.hpp"

namespace sbfp {

static_assert(ENGINE_ACTIVATION_MEMBERS == 3, "an activation that the epilogue does not know");
static_assert(ENGINE_OPERATOR_MEMBERS == 9, "an operator of which the epilogue does not know how it ends");

// The product of two mantissas. In logic, since the array and the means take nearly all DSPs.
inline int32_t product_of(int32_t mantissa, int16_t other) {
#pragma HLS INLINE
    const int32_t product = narrow(mantissa, OPERAND_BITS) * other;
#pragma HLS BIND_OP variable=product op=mul impl=fabric
    return product;
}

// What is done in each lane. larger, smaller, multiplies: of sum and shortcut, instead of adding them; low, high: least
// and largest mantissa; average: multiplies by a factor, the reciprocal of what a mean counts, or the share of a difference,
// which may differ from pixel to pixel; depthwise: adds a bias that did not come with the sum.
struct Finish {
    bool average;
    bool depthwise;
    bool has_main;
    bool has_shortcut;
    bool larger;
    bool smaller;
    bool multiplies;
    bool relu;
    bool relu6;
    int32_t shortcut_unsigned;
    int32_t low;
    int32_t high;
    int32_t factor;
    int16_t operator()(int32_t sum, int8_t main_shift, int32_t bias, int8_t shortcut, int8_t shortcut_shift,
                      int32_t clamp, int8_t shift) const {
#pragma HLS INLINE
        int32_t value = average ? mean(sum, factor) : sum;
        if (has_main) {
            value = shift_left(value, main_shift);
        }
        if (depthwise) {
            value += bias;
        }
        if (has_shortcut) {
            const int16_t other = operand(shortcut, shortcut_unsigned);
            const int32_t aligned = shift_left(other, shortcut_shift);
            if (multiplies) {
                value = product_of(value, other);
            } else if (larger || smaller) {
                value = (aligned > value) == larger ? aligned : value;
            } else {
                value += aligned;
            }
        }
        if (relu && value < 0) {
            value = 0;
        }
        if (relu6 && value > clamp) {
            value = clamp;
        }
        return static_cast<int16_t>(saturate(round_shift<ROUND_LEAST, ROUND_MASK>(value, shift), low, high));
    }
};

// A mantissa as its code of a byte.
struct Narrow {
    int8_t operator()(int16_t mantissa) const {
#pragma HLS INLINE
        return static_cast<int8_t>(mantissa);
    }
};

// The only channel of a shortcut in every lane that holds one.
struct Spread {
    int8_t mantissa;
    int8_t operator()(int8_t holds) const {
#pragma HLS INLINE
        return holds != 0 ? mantissa : static_cast<int8_t>(0);
    }
};

inline Finish finish_of(const ComputeJob &job) {
#pragma HLS INLINE
    Finish finish;
    const bool interpolates = HAS_INTERPOLATE && job.op == INTERPOLATE;
    finish.average = (HAS_AVG_POOL && job.op == AVG_POOL) || interpolates;
    finish.depthwise = (HAS_DEPTHWISE && job.op == DEPTHWISE) || interpolates;
    finish.larger = HAS_MAXIMUM && job.op == MAXIMUM;
    finish.smaller = HAS_MINIMUM && job.op == MINIMUM;
    finish.multiplies = HAS_MULTIPLY && job.op == MULTIPLY;
    finish.has_main = job.has_main != 0;
    finish.has_shortcut = HAS_SHORTCUT && job.has_shortcut != 0;
    finish.relu = job.activation == RELU || job.activation == RELU6;
    finish.relu6 = HAS_RELU6 && job.activation == RELU6;
    finish.shortcut_unsigned = job.shortcut_unsigned;
    finish.low = job.low;
    finish.high = job.high;
    finish.factor = 0;
    return finish;
}

// The entry of each lane's index in a table of a function, zero in a lane without a channel. start: of the table; tables
// are as long as an index has codes.
inline Word looked_up(const Lanes<int16_t, LANES> &index, const TableRow &used, int32_t start) {
#pragma HLS INLINE
    Word result;
    for (int i = 0; i < LANES; ++i) {
#pragma HLS UNROLL
        const int8_t entry = LOOKUP[i / 2][start | (index.lane[i] & ((1 << LOOKUP_BITS) - 1))];
        result.lane[i] = used.lane[i] != 0 ? entry : static_cast<int8_t>(0);
    }
    return result;
}

// Where a pixel stands: its column in the tile, and the entries of its row and column that lead to its reciprocal.
struct PixelWalk {
    int32_t x;
    int32_t row;
    int32_t column;
};

inline PixelWalk first_pixel(const Step &step) {
#pragma HLS INLINE
    PixelWalk walk;
    walk.x = 0;
    walk.row = step.average_row;
    walk.column = step.average_column;
    return walk;
}

inline void next_pixel(PixelWalk &walk, const ComputeJob &job, const Step &step) {
#pragma HLS INLINE
    if (walk.x == job.width - 1) {
        walk.x = 0;
        walk.row = low_bits<AVERAGE_ROWS>(walk.row + 1);
        walk.column = step.average_column;
    } else {
        walk.x = bounded<ComputeJob::MOST_WIDTH>(walk.x + 1);
        walk.column = low_bits<AVERAGE_COLUMNS>(walk.column + 1);
    }
}

// biases: of depthwise convolution, one for each output word.
inline void epilogue(const StepRow &where, const ComputeRow &job_row, hls::stream<AccWord> &biases,
                     hls::stream<AccWord> &sums, hls::stream<Word> &shortcut, hls::stream<Word> &results) {
#pragma HLS INLINE off
// All lanes of a row are read in the same cycle.
#pragma HLS AGGREGATE variable=MAIN_ALIGNMENT
#pragma HLS AGGREGATE variable=REQUANTISATION_SHIFT
#pragma HLS AGGREGATE variable=SHORTCUT_ALIGNMENT
#pragma HLS AGGREGATE variable=CLAMP_HIGH
#pragma HLS AGGREGATE variable=USED_LANES
// Two lanes share a copy, each with a port of its own.
#pragma HLS ARRAY_PARTITION variable=LOOKUP dim=1 complete
#pragma HLS BIND_STORAGE variable=LOOKUP type=rom_2p impl=bram
    const ComputeJob job = compute_job(job_row);
    const Step step = step_of(where);
    Finish finish = finish_of(job);
    AccWord bias = fill<int32_t, LANES>(0);
    TableRow main_shift;
    TableRow shift;
    TableRow shortcut_shift;
    AccWord clamp;
    TableRow used;
    Word other = fill<int8_t, LANES>(0);
    int32_t word = step.out_word;
    int32_t left = 0;  // pixels of the word
    PixelWalk at = first_pixel(step);
EPILOGUE_PIXELS:
    for (int32_t n = 0; n < job.results; n = bounded<ComputeJob::MOST_RESULTS>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16384
#pragma HLS PIPELINE II=1
        count(COUNT_EPILOGUE);
        const bool begins = left == 0;  // a word
        if (begins) {
            if ((HAS_DEPTHWISE || HAS_INTERPOLATE) && finish.depthwise) {
                bias = biases.read();
            }
            main_shift = MAIN_ALIGNMENT[finish.has_main ? job.main_row + word : 0];
            shift = REQUANTISATION_SHIFT[job.round_row + word];
            shortcut_shift = SHORTCUT_ALIGNMENT[finish.has_shortcut ? job.shortcut_row + word : 0];
            clamp = CLAMP_HIGH[finish.relu6 ? job.clamp_row + word : 0];
            used = USED_LANES[job.masks ? job.lanes_row + word : 0];
            word = bounded<OUTPUT_WORDS>(word + 1);
            left = job.pixels;
            at = first_pixel(step);
        }
        left = bounded<ComputeJob::MOST_PIXELS>(left - 1);
        const AccWord sum = sums.read();
        if (HAS_SHORTCUT && finish.has_shortcut && (begins || job.shortcut_held == 0)) {
            other = shortcut.read();
            if (job.shortcut_spread != 0) {
                other = map<int8_t>(Spread{other.lane[0]}, used);
            }
        }
        finish.factor = finish.average ? reciprocal(at.row, at.column) : 0;
        next_pixel(at, job, step);
        const Lanes<int16_t, LANES> mantissas =
            map<int16_t>(finish, sum, main_shift, bias, other, shortcut_shift, clamp, shift);
        if (HAS_LOOKUP && job.looks_up != 0) {
            results.write(looked_up(mantissas, used, job.table << LOOKUP_BITS));
        } else {
            results.write(map<int8_t>(Narrow{}, mantissas));
        }
    }
}

}  // namespace sbfp
