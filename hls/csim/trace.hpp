// Counts loop iterations and bursts per layer in C simulation. Synthesis takes
// hls/synth/trace.hpp, which does nothing.
#pragma once

#include <cstdint>

#include "config.hpp"
#include "loops.hpp"

namespace sbfp {

struct Trace {
    uint32_t layer;
    int64_t counts[NUM_LAYERS > 0 ? NUM_LAYERS : 1][LOOPS];
};

// Hidden: the loader would share its counts among all engines of a process, whose numbers of layers differ.
__attribute__((visibility("hidden"))) inline Trace &trace() {
    static Trace all = {};
    return all;
}

inline void trace_layer(uint32_t layer) { trace().layer = layer; }
inline void count(Loop loop) { trace().counts[trace().layer][loop] += 1; }

}  // namespace sbfp
