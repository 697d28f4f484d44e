// Counts loop iterations and bursts per layer in C simulation. Synthesis takes
// hls/synth/trace.hpp, which does nothing.
#pragma once

#include <cstdint>

#include "config.hpp"
#include "loops.hpp"

namespace sbfp {

struct Trace {
    int32_t layer[JOB_KINDS];
    int64_t step;  // counts them, those of all calls
    int64_t counts[NUM_LAYERS > 0 ? NUM_LAYERS : 1][LOOPS];
};

// Hidden: the loader would share its counts among all engines of a process, whose numbers of layers differ.
__attribute__((visibility("hidden"))) inline Trace &trace() {
    static Trace all = {};
    return all;
}

// The layers that a step loads, loads weights for, and computes: what is counted in it counts as theirs.
inline void begin_step(int32_t loaded, int32_t weighed, int32_t computed) {
    trace().layer[LOADING] = loaded;
    trace().layer[WEIGHING] = weighed;
    trace().layer[COMPUTING] = computed;
    trace().layer[FETCHING] = weighed;
    trace().step += 1;
}

// A burst of weights for the queue begins, by its row of FETCHES: it counts as its own layer's.
inline void begin_fetch(int32_t burst) { trace().layer[FETCHING] = FETCH_LAYERS[burst]; }

// One more iteration, or burst, of the layer whose job it is.
inline void count(Loop loop) {
    trace().counts[trace().layer[JOB_OF[loop]]][loop] += 1;
}

}  // namespace sbfp
