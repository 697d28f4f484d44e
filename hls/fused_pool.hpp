// Stage: max pooling of what a layer computes, as it streams by, with stride 2
// and windows of 2 or 3.
//
// A row or column is the last of at most one window and then perhaps the first
// of the next, so that one running maximum per output column and word suffices.
// Code generation fuses only pools for which that holds (codegen/lowering/fusion.py).
#pragma once

#include "dependence_check.hpp"
#include "hls_stream.h"
#include "jobs.hpp"
#include "trace.hpp"
#include "words.hpp"

namespace sbfp {

// Accesses to a maximum are a row apart; narrower maps are not fused.
constexpr int32_t FUSED_POOL_DISTANCE = 8;

// What a row (or column) is to the windows it lies in.
struct WindowEdge {
    bool begins;  // the first of its own window
    bool joins;   // the last of the window before
    bool ends;    // the last of some window,
    int32_t window;  // this one
};

// Position i of a map of `size`, padded by `before`; `count` windows of `kernel`.
inline WindowEdge window_edge(int32_t i, int32_t size, int32_t before, int32_t kernel, int32_t count) {
#pragma HLS INLINE
    WindowEdge edge;
    const int32_t at = i + before;
    const int32_t own = at >> 1;
    const bool odd = (at & 1) != 0;
    edge.begins = !odd || i == 0;
    edge.joins = kernel == 3 && !odd && own > 0;
    const bool last = own < count && ((kernel == 2 && odd) || i == size - 1);
    edge.ends = edge.joins || last;
    edge.window = edge.joins ? own - 1 : own;
    return edge;
}

// best: running maxima of the windows that rows have begun, of all output words
// of the layer; they outlive a tile. kept: the words themselves, where the map is stored.
inline void fused_pool(const StepRow &where, const ComputeRow &job_row, hls::stream<Word> &results,
                       Word best[POOL_WORDS], hls::stream<Word> &kept, hls::stream<Word> &pooled) {
#pragma HLS INLINE off
    const ComputeJob job = compute_job(job_row);
    const Step step = step_of(where);
    const int32_t is_unsigned = job.out_unsigned;
    Word across = fill<int8_t, LANES>(0);  // of the window in this row
    int32_t line = step.pooled_line;
    int32_t y = 0;  // in the tile
    int32_t x = 0;
    DependenceCheck<POOL_WORDS> check("best", FUSED_POOL_DISTANCE);
FUSED_POOL_WORDS:
    for (int32_t n = 0; n < job.results; n = bounded<ComputeJob::MOST_RESULTS>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16384
#pragma HLS PIPELINE II=1
// A maximum is read and written once per row, and a row has at least
// FUSED_POOL_DISTANCE pixels.
#pragma HLS DEPENDENCE variable=best type=inter false
        count(COUNT_FUSED_POOL);
        const Word value = results.read();
        if (job.keeps_map != 0) {
            kept.write(value);
        }
        if (HAS_FUSED_POOL && job.pools != 0) {
            const WindowEdge row =
                window_edge(step.out_y + y, job.out_height, job.pool_top, job.pool_height, job.pooled_height);
            const WindowEdge column = window_edge(x, job.width, job.pool_left, job.pool_width, job.pooled_width);
            const Word joined = map<int8_t>(LargerMantissa{is_unsigned}, across, value);
            if (column.ends) {
                const Word in_row = map<int8_t>(Choose{column.begins && !column.joins}, value, joined);
                const int32_t at = line + column.window;
                check.read(n, at);
                const Word both = map<int8_t>(LargerMantissa{is_unsigned}, best[at], in_row);
                if (row.ends) {
                    pooled.write(map<int8_t>(Choose{row.begins && !row.joins}, in_row, both));
                }
                check.write(n, at);
                best[at] = map<int8_t>(Choose{row.begins}, in_row, both);
            }
            across = map<int8_t>(Choose{column.begins}, value, joined);
            if (x != job.width - 1) {
                x = bounded<ComputeJob::MOST_WIDTH>(x + 1);
            } else {
                x = 0;
                if (y != job.height - 1) {
                    y = bounded<ComputeJob::MOST_HEIGHT>(y + 1);
                } else {
                    y = 0;
                    line = bounded<POOL_WORDS>(line + job.pooled_width);
                }
            }
        }
    }
}

}  // namespace sbfp
