// Weights, bias and alignment shifts of one pass, as they lie in memory and on chip.
//
// In memory, per word of output channels and per chunk of input words: the bias
// (four beats: LANES 32-bit integers, little endian), the alignment shifts (one
// beat per input word, only where the layer has any) and the mantissas, packed
// (see packing.hpp): for each part of FILTERS filters, for each step (an input
// word at a kernel position), FILTERS words with FILTERS mantissas of each of
// LANES input channels. A depthwise step is one word. What a pass needs is one burst, or comes out of the queue of
// weights (see weights_ahead.hpp).
#pragma once

#include "jobs.hpp"
#include "packing.hpp"
#include "schedule.hpp"
#include "trace.hpp"

namespace sbfp {

constexpr int BIAS_BEATS = 4;

// Rows of the on-chip buffer of dense weights: FILTERS words each.
constexpr int DENSE_ROWS = WEIGHT_STEPS * PARTS;

// Stage: fetched are the weights that load in this step, or, pushed into the queue where there is one, the bursts of this
// step, of later passes and layers, too.
inline void fetch_weights(const StepRow &where, const WeightsRow &job_row, const QueueRow &queue_row,
                          const Word *memory, hls::stream<Word> &fetched, hls::stream<Word> &pushed) {
#pragma HLS INLINE off
    const WeightsJob job = weights_job(job_row);
    const QueueJob queue = queue_job(queue_row);
    const Step step = step_of(where);
    if (HAS_WEIGHT_QUEUE) {
        int32_t inside = queue.inside;
    FETCH_BURSTS_OF_WEIGHTS:
        for (int32_t n = 0; n < queue.bursts; n = bounded<QueueJob::MOST_BURSTS>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=64
            const FetchJob burst = fetch_job(FETCHES[queue.first_burst + n]);
            const int32_t start = burst.start + inside;
            const int32_t beats = burst.beats - inside;
            begin_fetch(queue.first_burst + n);
            count(BURSTS_WEIGHTS);
        FETCH_AHEAD:
            for (int32_t i = 0; i < beats; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS*LANES
#pragma HLS PIPELINE II=1
                count(COUNT_FETCH_WEIGHTS);
                pushed.write(memory[start + i]);
            }
            inside = 0;
        }
    } else {
        if (job.weight_beats > 0) {
            count(BURSTS_WEIGHTS);
        }
    FETCH_WEIGHTS:
        for (int32_t i = 0; i < job.weight_beats; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=WEIGHT_STEPS*LANES
#pragma HLS PIPELINE II=1
            count(COUNT_FETCH_WEIGHTS);
            fetched.write(memory[step.weights_start + i]);
        }
    }
}

inline AccWord unpack_bias(const Word raw[BIAS_BEATS]) {
#pragma HLS INLINE
    AccWord bias;
    for (int f = 0; f < LANES; ++f) {
#pragma HLS UNROLL
        uint32_t value = 0;
        for (int byte = 0; byte < 4; ++byte) {
#pragma HLS UNROLL
            const int at = 4 * f + byte;
            value |= static_cast<uint32_t>(static_cast<uint8_t>(raw[at / LANES].lane[at % LANES])) << (8 * byte);
        }
        bias.lane[f] = static_cast<int32_t>(value);
    }
    return bias;
}

// Two words a cycle, where they are there and lie in different columns of the buffer.
inline void load_dense(const WeightsJob &job, int32_t first_row, hls::stream<Word> &fetched,
                       Word dense[DENSE_ROWS][FILTERS]) {
#pragma HLS INLINE off
    LaneBits waiting = no_bits();
    int32_t row = first_row;
    int32_t word = 0;
    int32_t left = job.weight_words;
LOAD_DENSE:
    for (int32_t i = 0; i < job.weight_takes; i = bounded<WeightsJob::MOST_WEIGHT_TAKES>(i + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS*LANES
#pragma HLS PIPELINE II=1
        count(COUNT_LOAD_DENSE);
        const TwoWords two = take_two(waiting, job.weight_bits, FILTERS > 1 ? left : 1, fetched);
        const bool wraps = word == FILTERS - 1;
        const int32_t next_row = wraps ? bounded<DENSE_ROWS>(row + 1) : row;
        const int32_t next_word = wraps ? 0 : bounded<FILTERS - 1>(word + 1);
        for (int f = 0; f < FILTERS; ++f) {
#pragma HLS UNROLL
            if (f == word) {
                dense[row][f] = two.first;
            } else if (f == next_word && two.count == 2) {
                dense[next_row][f] = two.second;
            }
        }
        if (two.count == 1) {
            row = next_row;
            word = next_word;
        } else {
            row = next_word == FILTERS - 1 ? bounded<DENSE_ROWS>(next_row + 1) : next_row;
            word = next_word == FILTERS - 1 ? 0 : bounded<FILTERS - 1>(next_word + 1);
        }
        left = bounded<WeightsJob::MOST_WEIGHT_WORDS>(left - two.count);
    }
}

inline void load_depthwise(const WeightsJob &job, int32_t first, hls::stream<Word> &fetched,
                           Word depthwise[DEPTHWISE_STEPS]) {
#pragma HLS INLINE off
    LaneBits waiting = no_bits();
LOAD_DEPTHWISE:
    for (int32_t i = 0; i < job.weight_words; i = bounded<WeightsJob::MOST_WEIGHT_WORDS>(i + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS
#pragma HLS PIPELINE II=1
        count(COUNT_LOAD_DEPTHWISE);
        depthwise[first + i] = take_word(waiting, job.weight_bits, 0, fetched);
    }
}

inline void load_align(const WeightsJob &job, int32_t first, hls::stream<Word> &fetched, Word align[WEIGHT_STEPS]) {
#pragma HLS INLINE off
LOAD_ALIGN:
    for (int32_t i = 0; i < job.align_rows; i = bounded<WeightsJob::MOST_ALIGN_ROWS>(i + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=WEIGHT_STEPS
#pragma HLS PIPELINE II=1
        count(COUNT_LOAD_ALIGN);
        if (job.has_align) {
            align[first + i] = fetched.read();
        } else {
            align[first + i] = fill<int8_t, LANES>(0);
        }
    }
}

inline void load_bias(int32_t output, hls::stream<Word> &fetched, AccWord bias[GROUP_WORDS]) {
#pragma HLS INLINE off
    Word raw[BIAS_BEATS];
#pragma HLS AGGREGATE variable=raw
#pragma HLS ARRAY_PARTITION variable=raw complete
LOAD_BIAS:
    for (int i = 0; i < BIAS_BEATS; ++i) {
#pragma HLS PIPELINE II=1
        count(COUNT_LOAD_BIAS);
        raw[i] = fetched.read();
    }
    bias[output] = unpack_bias(raw);
}

inline void lay_out_weights(const WeightsJob &job, hls::stream<Word> &fetched, AccWord bias[GROUP_WORDS],
                            Word align[WEIGHT_STEPS], Word dense[DENSE_ROWS][FILTERS],
                            Word depthwise[DEPTHWISE_STEPS]) {
#pragma HLS INLINE
    int32_t first = 0;       // weights of this output word
    int32_t first_align = 0;
LOAD_WORDS_OF_WEIGHTS:
    for (int32_t output = 0; output < job.weight_outputs; output = bounded<GROUP_WORDS>(output + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=GROUP_WORDS
        load_bias(output, fetched, bias);
        if ((!HAS_DEPTHWISE && !HAS_INTERPOLATE) || job.depthwise == 0) {
            load_align(job, first_align, fetched, align);
            load_dense(job, first, fetched, dense);
        } else {
            load_depthwise(job, first, fetched, depthwise);
        }
        first = bounded<DENSE_ROWS + DEPTHWISE_STEPS>(first + job.weight_rows);
        first_align = bounded<WEIGHT_STEPS>(first_align + job.align_rows);
    }
}

// Stage: lay out what one pass needs, one output word after the other. It comes from memory, or out of the queue.
inline void load_weights(const WeightsRow &job_row, hls::stream<Word> &fetched, hls::stream<Word> &popped,
                         AccWord bias[GROUP_WORDS], Word align[WEIGHT_STEPS], Word dense[DENSE_ROWS][FILTERS],
                         Word depthwise[DEPTHWISE_STEPS]) {
#pragma HLS INLINE off
    const WeightsJob job = weights_job(job_row);
    if (HAS_WEIGHT_QUEUE) {
        lay_out_weights(job, popped, bias, align, dense, depthwise);
    } else {
        lay_out_weights(job, fetched, bias, align, dense, depthwise);
    }
}

}  // namespace sbfp
