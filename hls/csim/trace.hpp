// Counts loop iterations and bursts per layer in C simulation. Synthesis takes
// hls/synth/trace.hpp, which does nothing.
#pragma once

#include <cstdint>

#include "config.hpp"
#include "loops.hpp"

namespace sbfp {

struct Trace {
    int64_t counts[NUM_LAYERS > 0 ? NUM_LAYERS : 1][LOOPS];
};

// Hidden: the loader would share its counts among all engines of a process, whose numbers of layers differ.
__attribute__((visibility("hidden"))) inline Trace &trace() {
    static Trace all = {};
    return all;
}

// One more iteration, or burst, of a layer: what loads while another layer computes counts as its own layer's.
template <typename L>
inline void count(const L &layer, Loop loop) {
    trace().counts[layer.number][loop] += 1;
}

}  // namespace sbfp
