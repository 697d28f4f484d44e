// Checks of the queue of weights: nothing in synthesis. The C simulation's version is hls/csim/queue_check.hpp; only the
// include path differs.
#pragma once

#include "jobs.hpp"

namespace sbfp {

inline void begin_queue() {
#pragma HLS INLINE
}

inline void begin_queue_step(int32_t) {
#pragma HLS INLINE
}

class QueueCheck {
  public:
    explicit QueueCheck(const QueueJob &) {}
    void push(int32_t) {
#pragma HLS INLINE
    }
    void pop(int32_t) {
#pragma HLS INLINE
    }
};

}  // namespace sbfp
