// Stages: fetch the input of one tile, with its halo, some of its lines at a
// time, and unpack it. Padding is written out, so that no later stage needs conditions.
#pragma once

#include "bursts.hpp"
#include "jobs.hpp"
#include "packing.hpp"
#include "trace.hpp"

namespace sbfp {

static_assert(MAP_PLACE_MEMBERS == 1, "a place of maps from which nothing is fetched");

inline void fetch_tile(const LoadRow &job_row, const Word *memory, hls::stream<Word> &fetched) {
#pragma HLS INLINE off
    const LoadJob job = load_job(job_row);
    BurstWalk walk = first_burst(job.fetch_plane, job.fetch_inside, job.fetch_first_bursts);
    int32_t length = job.fetch_first;
FETCH_BURSTS:
    for (int32_t n = 0; n < job.fetch_bursts; n = bounded<LoadJob::MOST_FETCH_BURSTS>(n + 1)) {
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

inline void pad_words(int32_t pad_value, int32_t words, hls::stream<Word> &unpacked) {
#pragma HLS INLINE
    const Word padding = fill<int8_t, LANES>(static_cast<int8_t>(pad_value));
PAD:
    for (int32_t i = 0; i < words; i = bounded<LoadJob::MOST_COLUMNS>(i + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=64
#pragma HLS PIPELINE II=1
        count(COUNT_PAD);
        unpacked.write(padding);
    }
}

// unpacked: every line in full, padding included.
inline void unpack_tile(const LoadRow &job_row, hls::stream<Word> &fetched, hls::stream<Word> &unpacked) {
#pragma HLS INLINE off
    const LoadJob job = load_job(job_row);
    int32_t row = job.row;
UNPACK_LINES:
    for (int32_t n = 0; n < job.map_lines; n = bounded<LoadJob::MOST_MAP_LINES>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=4096
        const bool exists = row >= job.top && row < job.bottom;
        const int32_t inside = exists ? job.columns_inside : 0;
        LaneBits waiting = no_bits();
        pad_words(job.pad_value, exists ? job.columns_before : job.columns, unpacked);
        if (exists) {
            skip_bits(waiting, job.skip, fetched);
        }
    UNPACK_WORDS:
        for (int32_t i = 0; i < inside; i = bounded<LoadJob::MOST_COLUMNS>(i + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
#pragma HLS PIPELINE II=1
            count(COUNT_UNPACK_TILE);
            unpacked.write(take_word(waiting, job.in_bits, job.in_unsigned, fetched));
        }
        pad_words(job.pad_value, exists ? job.columns_after : 0, unpacked);
        row = row == job.rows - 1 ? 0 : bounded<LoadJob::MOST_ROWS>(row + 1);
    }
}

}  // namespace sbfp
