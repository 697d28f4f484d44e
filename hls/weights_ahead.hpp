// Stage: weights wait in a queue in on-chip memory. It is the one process that touches that memory: what is fetched in
// a step goes in, of later passes and layers, too, and what the pass of the next step needs comes out.
#pragma once

#include "bounded.hpp"
#include "dependence_check.hpp"
#include "hls_stream.h"
#include "jobs.hpp"
#include "queue_check.hpp"
#include "trace.hpp"

namespace sbfp {

// Iterations that the pipeline may hold a beat before it is in memory; code generation keeps to it.
constexpr int32_t WEIGHT_QUEUE_DISTANCE = 8;

constexpr int32_t MOST_QUEUE_CYCLES =
    QueueJob::MOST_PUSH_FROM + QueueJob::MOST_PUSHES + QueueJob::MOST_POP_FROM + WeightsJob::MOST_WEIGHT_BEATS;

inline int32_t next_in_queue(int32_t at) {
#pragma HLS INLINE
    return at == WEIGHT_QUEUE - 1 ? 0 : bounded<WEIGHT_QUEUE - 1>(at + 1);
}

// One loop for both, in each iteration one beat in and one beat out at most, so that two ports suffice. With which
// iteration either begins was chosen so that each beat is there in time, and has gone before its word is written again.
inline void queue_weights(const WeightsRow &job_row, const QueueRow &queue_row, hls::stream<Word> &pushed,
                          Word ahead[WEIGHT_QUEUE], hls::stream<Word> &popped) {
#pragma HLS INLINE off
    const QueueJob job = queue_job(queue_row);
    const int32_t pops = weights_job(job_row).weight_beats;
    const int32_t push_end = job.pushes > 0 ? job.push_from + job.pushes : 0;
    const int32_t pop_end = pops > 0 ? job.pop_from + pops : 0;
    const int32_t cycles = push_end > pop_end ? push_end : pop_end;
    int32_t to = job.push_at;
    int32_t from = job.pop_at;
    QueueCheck beats(job);
    DependenceCheck<WEIGHT_QUEUE> check("ahead", WEIGHT_QUEUE_DISTANCE);
    if (HAS_WEIGHT_QUEUE) {
    QUEUE_CYCLES:
        for (int32_t n = 0; n < cycles; n = bounded<MOST_QUEUE_CYCLES>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16384
#pragma HLS PIPELINE II=1
// A beat is read WEIGHT_QUEUE_DISTANCE iterations after it was written, at the earliest, and its word written again so
// many after that.
#pragma HLS DEPENDENCE variable=ahead type=inter false
            count(COUNT_QUEUE_WEIGHTS);
            if (n >= job.push_from && n < push_end) {
                const Word beat = pushed.read();
                beats.push(to);
                check.write(n, to);
                ahead[to] = beat;
                to = next_in_queue(to);
            }
            if (n >= job.pop_from && n < pop_end) {
                beats.pop(from);
                check.read(n, from);
                popped.write(ahead[from]);
                from = next_in_queue(from);
            }
        }
    }
}

}  // namespace sbfp
