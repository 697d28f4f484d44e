// Follows the queue of weights in C simulation: each of its words holds one word of the weight image, is written when that
// of before has gone, and is read only as the weights that the pass needs. Synthesis takes hls/synth/queue_check.hpp,
// which does nothing.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "loops.hpp"
#include "schedule.hpp"

namespace sbfp {

constexpr int64_t NO_WEIGHT = 0;

struct QueueState {
    bool runs;                    // not where a stage runs by itself, and nothing is checked
    int32_t step;                 // of the schedule
    int64_t holds[WEIGHT_QUEUE];  // the word of the weight image that each word has, from 1 on
};

// Hidden, as trace() is.
__attribute__((visibility("hidden"))) inline QueueState &queue_state() {
    static QueueState state = {};
    return state;
}

// A run finds nothing in the queue.
inline void begin_queue() {
    queue_state() = {};
    queue_state().runs = true;
}

inline void begin_queue_step(int32_t step) { queue_state().step = step; }

// The beats of one step.
class QueueCheck {
  public:
    explicit QueueCheck(const QueueJob &job) : burst_(job.first_burst), inside_(job.inside) {}

    void push(int32_t at) {
        QueueState &state = queue_state();
        const FetchJob burst = fetch_job(FETCHES[burst_]);
        if (state.runs && state.holds[at] != NO_WEIGHT) {
            std::fprintf(stderr, "step %d writes word %d of the queue of weights, whose beat no pass has taken\n",
                         state.step, at);
            std::abort();
        }
        state.holds[at] = int64_t{1} + burst.start + inside_;
        inside_ = inside_ + 1 < burst.beats ? inside_ + 1 : 0;
        burst_ += inside_ == 0;
    }

    void pop(int32_t at) {
        QueueState &state = queue_state();
        if (state.runs && state.holds[at] != int64_t{1} + TAKEN_FROM[state.step] + taken_) {
            std::fprintf(stderr, "step %d reads word %d of the queue of weights, which holds none of its weights\n",
                         state.step, at);
            std::abort();
        }
        state.holds[at] = NO_WEIGHT;
        taken_ += 1;
    }

  private:
    int32_t burst_;
    int32_t inside_;
    int32_t taken_ = 0;
};

}  // namespace sbfp
