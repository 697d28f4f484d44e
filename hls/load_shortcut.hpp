// Stages: fetch the shortcut of one pass and unpack it, in the order in which
// sums complete.
#pragma once

#include "bursts.hpp"
#include "jobs.hpp"
#include "packing.hpp"
#include "trace.hpp"

namespace sbfp {

static_assert(MAP_PLACE_MEMBERS == 2, "a place of shortcuts from which nothing is fetched");

inline void fetch_shortcut(const StepRow &where, const ComputeRow &job_row, const Word *memory,
                           hls::stream<Word> &fetched) {
#pragma HLS INLINE off
    const ComputeJob job = compute_job(job_row);
    const Step step = step_of(where);
    BurstWalk walk = first_burst(step.shortcut_plane, 0, job.shortcut_plane_bursts);
    const int32_t bursts = job.shortcut_from == MEMORY ? job.shortcut_bursts : 0;
    if (HAS_SHORTCUT) {
    FETCH_SHORTCUT_BURSTS:
        for (int32_t n = 0; n < bursts; n = bounded<ComputeJob::MOST_SHORTCUT_BURSTS>(n + 1)) {
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

// One loop for all rows; where a row's first beat has bits of columns before, it begins with a cycle that drops them.
// joined: the beats of a shortcut on chip, which were read a step ahead.
inline void load_shortcut(const ComputeRow &job_row, hls::stream<Word> &fetched, const Word joined[SHORTCUT_WORDS],
                          hls::stream<Word> &shortcut) {
#pragma HLS INLINE off
    const ComputeJob job = compute_job(job_row);
    LaneBits waiting = no_bits();
    int32_t x = 0;
    int32_t taken = 0;  // of the beats on chip
    bool begins = true;
    if (HAS_SHORTCUT) {
    SHORTCUT_CYCLES:
        for (int32_t n = 0; n < job.shortcut_cycles; n = bounded<ComputeJob::MOST_SHORTCUT_CYCLES>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16384
#pragma HLS PIPELINE II=1
            count(COUNT_LOAD_SHORTCUT);
            const bool skips = begins && job.shortcut_skip > 0;
            if (skips || waiting.held < job.shortcut_bits) {
                Word beat;
                if (HAS_CHIP_SHORTCUT && job.shortcut_from == CHIP) {
                    beat = joined[taken];
                    taken = bounded<SHORTCUT_WORDS>(taken + 1);
                } else {
                    beat = fetched.read();
                }
                add_bits(waiting, BEAT_BITS, beat);
            }
            const Word word = look_at(waiting, 0, job.shortcut_bits, job.shortcut_unsigned);
            drop_bits(waiting, skips ? job.shortcut_skip : job.shortcut_bits);
            begins = false;
            if (!skips) {
                shortcut.write(word);
                if (job.shortcut_held != 0 || x == job.width - 1) {
                    waiting = no_bits();
                    x = 0;
                    begins = true;
                } else {
                    x = bounded<ComputeJob::MOST_WIDTH>(x + 1);
                }
            }
        }
    }
}

}  // namespace sbfp
