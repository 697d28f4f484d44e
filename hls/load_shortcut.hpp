// Stages: fetch the shortcut of one pass and unpack it, in the order in which
// sums complete.
#pragma once

#include "bursts.hpp"
#include "jobs.hpp"
#include "packing.hpp"
#include "trace.hpp"

namespace sbfp {

inline void fetch_shortcut(const StepRow &where, const ComputeRow &job_row, const Word *memory,
                           hls::stream<Word> &fetched) {
#pragma HLS INLINE off
    const ComputeJob job = compute_job(job_row);
    const Step step = step_of(where);
    BurstWalk walk = first_burst(step.shortcut_plane, 0, job.shortcut_plane_bursts);
    if (HAS_SHORTCUT) {
    FETCH_SHORTCUT_BURSTS:
        for (int32_t n = 0; n < job.shortcut_bursts; n = bounded<ComputeJob::MOST_SHORTCUT_BURSTS>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
            count(BURSTS_SHORTCUT);
        FETCH_SHORTCUT_BURST:
            for (int32_t i = 0; i < job.shortcut_length; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=16384
#pragma HLS PIPELINE II=1
                count(COUNT_FETCH_SHORTCUT);
                fetched.write(memory[walk.source + i]);
            }
            next_burst<ComputeJob::MOST_SHORTCUT_PLANE_BURSTS>(walk, job.shortcut_step, job.shortcut_plane_step,
                                                               job.shortcut_plane_bursts);
        }
    }
}

inline void load_shortcut(const ComputeRow &job_row, hls::stream<Word> &fetched, hls::stream<Word> &shortcut) {
#pragma HLS INLINE off
    const ComputeJob job = compute_job(job_row);
    const int32_t rows = job.has_shortcut != 0 ? job.finished_rows : 0;
    if (HAS_SHORTCUT) {
    SHORTCUT_ROWS:
        for (int32_t row = 0; row < rows; row = bounded<ComputeJob::MOST_FINISHED_ROWS>(row + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
            LaneBits waiting = no_bits();
            skip_bits(waiting, job.shortcut_skip, fetched);
        SHORTCUT_WORDS:
            for (int32_t x = 0; x < job.width; x = bounded<ComputeJob::MOST_WIDTH>(x + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
#pragma HLS PIPELINE II=1
                count(COUNT_LOAD_SHORTCUT);
                shortcut.write(take_word(waiting, job.shortcut_bits, job.shortcut_unsigned, fetched));
            }
        }
    }
}

}  // namespace sbfp
