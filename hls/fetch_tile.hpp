// Stages: fetch the input of one tile, with its halo, some of its lines at a
// time, and unpack it. Padding is written out, so that no later stage needs conditions.
#pragma once

#include "bursts.hpp"
#include "jobs.hpp"
#include "packing.hpp"
#include "trace.hpp"

namespace sbfp {

static_assert(MAP_PLACE_MEMBERS == 2, "a place of maps from which nothing is fetched");

inline void fetch_tile(const LoadRow &job_row, const Word *memory, hls::stream<Word> &fetched) {
#pragma HLS INLINE off
    const LoadJob job = load_job(job_row);
    BurstWalk walk = first_burst(job.fetch_plane, job.fetch_inside, job.fetch_first_bursts);
    int32_t length = job.fetch_first;
    const int32_t bursts = job.fetch_from == MEMORY ? job.fetch_bursts : 0;
FETCH_BURSTS:
    for (int32_t n = 0; n < bursts; n = bounded<LoadJob::MOST_FETCH_BURSTS>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=4096
        count(BURSTS_IN);
    FETCH_BURST:
        for (int32_t i = 0; i < length; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=16384
#pragma HLS PIPELINE II=1
            count(COUNT_FETCH_TILE);
            fetched.write(memory[walk.source + i]);
        }
        next_burst<LoadJob::MOST_FETCH_PLANE_BURSTS>(walk, job.fetch_step, job.fetch_plane_step,
                                                     job.fetch_plane_bursts);
        length = n + 2 == job.fetch_bursts ? job.fetch_last : job.fetch_length;
    }
}

// Where a line's next word lies, and the bits of its last beat that wait.
struct UnpackWalk {
    int32_t row;     // of its plane
    int32_t column;
    bool begins;     // a line begins, of whose first beat some bits may belong to columns before
    LaneBits waiting;
};

inline UnpackWalk begin_line(int32_t row) {
#pragma HLS INLINE
    UnpackWalk walk;
    walk.row = row;
    walk.column = 0;
    walk.begins = true;
    walk.waiting = no_bits();
    return walk;
}

// fetched, on_chip: beats of a map in memory, and of one on chip. unpacked: every line
// in full, padding included. One loop for all lines: a loop of its own would cost each
// of them some cycles to enter.
inline void unpack_tile(const LoadRow &job_row, hls::stream<Word> &fetched, hls::stream<Word> &on_chip,
                        hls::stream<Word> &unpacked) {
#pragma HLS INLINE off
    const LoadJob job = load_job(job_row);
    const Word padding = fill<int8_t, LANES>(static_cast<int8_t>(job.pad_value));
    UnpackWalk walk = begin_line(job.row);
UNPACK_CYCLES:
    for (int32_t n = 0; n < job.unpack_cycles; n = bounded<LoadJob::MOST_UNPACK_CYCLES>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=65536
#pragma HLS PIPELINE II=1
        count(COUNT_UNPACK_TILE);
        const bool exists = walk.row >= job.top && walk.row < job.bottom;
        const bool skips = walk.begins && exists && job.skip > 0;
        const bool takes = !skips && exists && walk.column >= job.columns_before && walk.column < job.columns_end;
        if (skips || (takes && walk.waiting.held < job.in_bits)) {
            Word beat;
            if (HAS_CHIP_MAPS && job.fetch_from == CHIP) {
                beat = on_chip.read();
            } else {
                beat = fetched.read();
            }
            add_bits(walk.waiting, BEAT_BITS, beat);
        }
        const Word word = look_at(walk.waiting, 0, job.in_bits, job.in_unsigned);
        drop_bits(walk.waiting, skips ? job.skip : takes ? job.in_bits : 0);
        if (skips) {
            walk.begins = false;
        } else {
            unpacked.write(map<int8_t>(Choose{takes}, word, padding));
            if (walk.column == job.columns - 1) {
                walk = begin_line(walk.row == job.rows - 1 ? 0 : bounded<LoadJob::MOST_ROWS>(walk.row + 1));
            } else {
                walk.column = bounded<LoadJob::MOST_COLUMNS>(walk.column + 1);
                walk.begins = false;
            }
        }
    }
}

}  // namespace sbfp
