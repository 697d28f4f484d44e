// Stages: pack the finished words of one pass, and write them to their place in
// the output map, in the map that max pooling makes of it, or in both. A tile
// starts on a whole beat of its line.
#pragma once

#include "bursts.hpp"
#include "jobs.hpp"
#include "packing.hpp"
#include "trace.hpp"

namespace sbfp {

static_assert(MAP_PLACE_MEMBERS == 2, "a place of maps to which nothing is stored");

// Whether row y of a map completes a row of the pooled one.
inline bool completes_row(const ComputeJob &job, int32_t y) {
#pragma HLS INLINE
    const int32_t at = y + job.pool_top - job.pool_height;  // of the row that would be complete, doubled, less three
    const bool regular = (at & 1) != 0 && at + 3 > 0;
    // the last row completes whatever window is still open
    const int32_t before = at + 2 > 0 ? (at + 2) >> 1 : 0;
    return HAS_FUSED_POOL && job.pools != 0 && (y == job.out_height - 1 ? before < job.pooled_height : regular);
}

// The row that goes out: of the map or of the pooled one, and its next word.
struct PackWalk {
    int32_t y;  // of the map, in the tile
    int32_t x;
    bool pooled;
    LaneBits waiting;
};

// kept, pooled: row by row; a pooled row follows the one that completes it, and
// waits in its stream while that one goes out. One loop for all rows; where bits
// are left of a row's last word, it ends with a cycle that writes them. packed, on_chip:
// beats of what is stored to memory, and of what stays on chip.
inline void pack(const StepRow &where, const ComputeRow &job_row, hls::stream<Word> &kept, hls::stream<Word> &pooled,
                 hls::stream<Word> &packed, hls::stream<Word> &on_chip) {
#pragma HLS INLINE off
    const ComputeJob job = compute_job(job_row);
    const Step step = step_of(where);
    const bool keeps = job.keeps_map != 0;
    PackWalk walk;
    walk.y = 0;
    walk.x = 0;
    walk.pooled = HAS_FUSED_POOL && !keeps;
    walk.waiting = no_bits();
PACK_CYCLES:
    for (int32_t n = 0; n < job.pack_cycles; n = bounded<ComputeJob::MOST_PACK_CYCLES>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16384
#pragma HLS PIPELINE II=1
        count(COUNT_PACK);
        const int32_t words = walk.pooled ? job.pooled_width : job.width;
        const bool rest = walk.x == words;
        if (rest) {
            walk.waiting.held = BEAT_BITS;  // the beat is filled up with zeros
        } else {
            Word word;
            if (HAS_FUSED_POOL && walk.pooled) {
                word = pooled.read();
            } else {
                word = kept.read();
            }
            add_bits(walk.waiting, job.out_bits, word);
            walk.x = bounded<ComputeJob::MOST_WIDTH>(walk.x + 1);
        }
        if (walk.waiting.held >= BEAT_BITS) {
            if (HAS_CHIP_MAPS && job.store_to == CHIP) {
                give_beat(walk.waiting, on_chip);
            } else {
                give_beat(walk.waiting, packed);
            }
            drop_bits(walk.waiting, BEAT_BITS);
        }
        if (walk.x == words && walk.waiting.held == 0) {
            // after a row of the map the pooled one that it completes, if any
            const bool goes_on = !walk.pooled && completes_row(job, step.out_y + walk.y);
            if (!goes_on) {
                walk.y = walk.y == job.height - 1 ? 0 : bounded<ComputeJob::MOST_HEIGHT>(walk.y + 1);
            }
            walk.pooled = HAS_FUSED_POOL && (goes_on || !keeps);
            walk.x = 0;
        }
    }
}

inline void store(const StepRow &where, const ComputeRow &job_row, hls::stream<Word> &packed, Word *memory) {
#pragma HLS INLINE off
    const ComputeJob job = compute_job(job_row);
    const Step step = step_of(where);
    const bool keeps = job.keeps_map != 0;
    BurstWalk map = first_burst(step.map_plane, 0, job.map_plane_bursts);
    BurstWalk pool = first_burst(step.pooled_plane, 0, job.pooled_plane_bursts);
    const int32_t turns = job.store_to == MEMORY ? job.store_turns : 0;
    int32_t y = 0;  // in the tile, where rows of both maps take turns
STORE_TURNS:
    for (int32_t n = 0; n < turns; n = bounded<ComputeJob::MOST_STORE_TURNS>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
        const bool pools = HAS_FUSED_POOL && job.pools != 0 && (!keeps || completes_row(job, step.out_y + y));
    STORE_PARTS:
        for (int part = 0; part < 2; ++part) {
            const bool stores = part == 0 ? keeps : pools;
            const int32_t target = part == 0 ? map.source : pool.source;
            const int32_t full = part == 0 ? job.map_length : job.pooled_length;
            const int32_t length = stores ? full : 0;
            if (stores) {
                count(BURSTS_OUT);
            }
        STORE_BURST:
            for (int32_t i = 0; i < length; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16384
#pragma HLS PIPELINE II=1
                count(COUNT_STORE);
                memory[target + i] = packed.read();
            }
        }
        next_burst<ComputeJob::MOST_MAP_PLANE_BURSTS>(map, job.map_step, job.map_plane_step, job.map_plane_bursts);
        if (pools) {
            next_burst<ComputeJob::MOST_POOLED_PLANE_BURSTS>(pool, job.pooled_step, job.pooled_plane_step,
                                                             job.pooled_plane_bursts);
        }
        y = y == job.height - 1 ? 0 : bounded<ComputeJob::MOST_HEIGHT>(y + 1);
    }
}

}  // namespace sbfp
