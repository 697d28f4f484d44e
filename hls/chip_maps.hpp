// Stage: feature maps that stay in on-chip memory between layers. It is the one
// process that touches that memory: what a tile loads is read, and the shortcut of
// the next pass, and what a pass stores is written; a word is read and one written
// each cycle, so that two ports suffice.
#pragma once

#include "bursts.hpp"
#include "dependence_check.hpp"
#include "hls_stream.h"
#include "jobs.hpp"
#include "map_check.hpp"
#include "trace.hpp"

namespace sbfp {

static_assert(MAP_PLACE_MEMBERS == 2, "a place of maps that no stage serves");

constexpr int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }
constexpr int32_t MOST_CHIP_CYCLES =
    larger(LoadJob::MOST_CHIP_BEATS + WeightsJob::MOST_COMING_BEATS, ComputeJob::MOST_CHIP_BEATS);
constexpr int32_t MOST_CHIP_BURSTS =
    larger(ComputeJob::MOST_MAP_PLANE_BURSTS, ComputeJob::MOST_POOLED_PLANE_BURSTS);

// The next word of a map: where its line begins, and how far it is in it.
struct ChipWalk {
    BurstWalk burst;
    int32_t word;
};

inline ChipWalk first_word(int32_t plane, int32_t inside, int32_t left) {
#pragma HLS INLINE
    ChipWalk walk;
    walk.burst = first_burst(plane, inside, left);
    walk.word = 0;
    return walk;
}

// length: words of this burst. Whether it was the last of them.
template <int32_t MOST_LENGTH, int32_t MOST>
inline bool next_word(ChipWalk &walk, int32_t length, int32_t step, int32_t plane_step, int32_t plane_bursts) {
#pragma HLS INLINE
    const bool ends = walk.word == length - 1;
    if (ends) {
        walk.word = 0;
        next_burst<MOST>(walk.burst, step, plane_step, plane_bursts);
    } else {
        walk.word = bounded<MOST_LENGTH>(walk.word + 1);
    }
    return ends;
}

// What a step stores here: the map, or only what max pooling makes of it.
struct ChipRows {
    int32_t length;
    int32_t step;
    int32_t plane_step;
    int32_t plane_bursts;
};

inline ChipRows rows_of(const ComputeJob &job) {
#pragma HLS INLINE
    const bool keeps = job.keeps_map != 0;
    ChipRows rows;
    rows.length = keeps ? job.map_length : job.pooled_length;
    rows.step = keeps ? job.map_step : job.pooled_step;
    rows.plane_step = keeps ? job.map_plane_step : job.pooled_plane_step;
    rows.plane_bursts = keeps ? job.map_plane_bursts : job.pooled_plane_bursts;
    return rows;
}

// The next word of a tile's lines, whose first and last burst have lengths of their own.
struct LineWalk {
    ChipWalk at;
    int32_t length;  // of this burst
    int32_t bursts;  // that are done
};

inline LineWalk first_line(const LoadJob &load) {
#pragma HLS INLINE
    LineWalk walk;
    walk.at = first_word(load.fetch_plane, load.fetch_inside, load.fetch_first_bursts);
    walk.length = load.fetch_first;
    walk.bursts = 0;
    return walk;
}

inline void next_of_lines(LineWalk &walk, const LoadJob &load) {
#pragma HLS INLINE
    if (next_word<LoadJob::MOST_CHIP_BEATS, LoadJob::MOST_FETCH_PLANE_BURSTS>(
            walk.at, walk.length, load.fetch_step, load.fetch_plane_step, load.fetch_plane_bursts)) {
        walk.length = walk.bursts + 2 == load.fetch_bursts ? load.fetch_last : load.fetch_length;
        walk.bursts = bounded<LoadJob::MOST_FETCH_BURSTS>(walk.bursts + 1);
    }
}

// One loop for reads and writes. Where fewer words are written than read, the
// writes are spread evenly over the reads; otherwise each read comes with a write.
// So neither has to wait for the end of the other, which would stop the array. No
// word is read that the same step writes. joined: beats of the shortcut of the next
// pass. They are read before that pass begins, so that what it stores never waits for
// them: a process that gave them to the same pass would wait for what it feeds.
inline void chip_maps(const StepRow &where, const LoadRow &load_row, const WeightsRow &next_row,
                      const ComputeRow &job_row, hls::stream<Word> &packed, Word maps[CHIP_WORDS],
                      hls::stream<Word> &fetched, Word joined[SHORTCUT_WORDS]) {
#pragma HLS INLINE off
    const LoadJob load = load_job(load_row);
    const WeightsJob next = weights_job(next_row);
    const ComputeJob job = compute_job(job_row);
    const Step step = step_of(where);
    const int32_t lines = load.chip_beats;
    const int32_t reads = lines + next.coming_beats;
    const int32_t writes = job.chip_beats;
    const int32_t cycles = reads > writes ? reads : writes;
    LineWalk from = first_line(load);
    ChipWalk coming = first_word(step.coming_plane, 0, next.coming_plane_bursts);
    int32_t kept = 0;  // beats of the shortcut
    const ChipRows rows = rows_of(job);
    ChipWalk to = first_word(job.keeps_map != 0 ? step.map_plane : step.pooled_plane, 0, rows.plane_bursts);
    int32_t due = 0;  // share of the next write
    DependenceCheck<CHIP_WORDS> check("maps", WHOLE_LOOP);
    if (HAS_CHIP_MAPS) {
    CHIP_CYCLES:
        for (int32_t n = 0; n < cycles; n = bounded<MOST_CHIP_CYCLES>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16384
#pragma HLS PIPELINE II=1
// Words that a step reads are none that it writes.
#pragma HLS DEPENDENCE variable=maps type=inter false
            if (n < reads) {
                const bool of_tile = !HAS_CHIP_SHORTCUT || n < lines;
                const int32_t at_line = from.at.burst.source + from.at.word;
                const int32_t at_shortcut = coming.burst.source + coming.word;
                const int32_t at = of_tile ? at_line : at_shortcut;
                check.read(n, at);
                const Word word = map<int8_t>(SameMantissa(), maps[at]);
                if (of_tile) {
                    count(COUNT_READ_CHIP);
                    map_read(at);
                    fetched.write(word);
                    next_of_lines(from, load);
                } else {
                    count(COUNT_JOIN_CHIP);
                    map_joined(at);
                    joined[kept] = word;
                    kept = bounded<SHORTCUT_WORDS>(kept + 1);
                    static_cast<void>(next_word<WeightsJob::MOST_COMING_LENGTH, WeightsJob::MOST_COMING_PLANE_BURSTS>(
                        coming, next.coming_length, next.coming_step, next.coming_plane_step, next.coming_plane_bursts));
                }
            }
            const int32_t share = due + writes;
            const bool turn = reads <= writes || share >= reads;
            due = reads <= writes ? 0 : bounded<MOST_CHIP_CYCLES>(turn ? share - reads : share);
            if (turn) {
                const int32_t at = to.burst.source + to.word;
                const Word word = packed.read();
                count(COUNT_WRITE_CHIP);
                map_written(at, word);
                check.write(n, at);
                maps[at] = word;
                static_cast<void>(next_word<ComputeJob::MOST_CHIP_BEATS, MOST_CHIP_BURSTS>(
                    to, rows.length, rows.step, rows.plane_step, rows.plane_bursts));
            }
        }
    }
}

}  // namespace sbfp
