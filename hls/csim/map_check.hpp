// Follows the maps that stay on chip in C simulation: whatever is written there is
// copied to its tensor's place in the arena, where it can be compared, and a word
// is read, as input or as shortcut, only as what was written there since its tensor's layer began. Synthesis
// takes hls/synth/map_check.hpp, which does nothing.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "trace.hpp"
#include "words.hpp"

namespace sbfp {

constexpr int64_t NOTHING_THERE = 0;

struct MapState {
    Word *arena;         // of the run; none where a stage runs by itself, and nothing is checked
    int32_t computed;    // the layer whose map was begun last
    int64_t holds[CHIP_WORDS];  // of each word, the word of the arena that it stands for, from 1 on
};

// Hidden, as trace() is.
__attribute__((visibility("hidden"))) inline MapState &map_state() {
    static MapState state = {};
    return state;
}

// The word of the arena that a word stands for.
inline int64_t home_of(const ChipMap &map, int32_t at) {
    const int32_t plane = (at - map.first) / map.plane;
    return map.home + plane * map.home_plane + (at - map.first) % map.plane;
}

inline void begin_maps(Word *arena) {
    map_state().arena = arena;
    map_state().computed = -1;
}

// Whether the arena of the run before has a copy of what stays on chip: not where the engine is synthesised.
inline bool chip_maps_are_copied() { return map_state().arena != nullptr; }

// What lay in the words of a layer's map is gone when the layer begins.
inline void begin_map(int32_t layer) {
    MapState &state = map_state();
    if (state.computed != layer) {
        state.computed = layer;
        const ChipLayer &own = CHIP_LAYERS[layer];
        for (int32_t n = 0; n < own.written.planes * own.words; ++n) {
            const int32_t plane = n / own.words;
            state.holds[own.written.first + plane * own.written.plane + own.begin + n % own.words] = NOTHING_THERE;
        }
    }
}

inline void expect_map(int32_t layer, const ChipMap &map, int32_t at, const char *what) {
    const MapState &state = map_state();
    if (state.arena && state.holds[at] != home_of(map, at) + 1) {
        std::fprintf(stderr, "layer %d reads word %d of on-chip memory, which holds nothing of its %s\n", layer, at, what);
        std::abort();
    }
}

inline void map_read(int32_t at) {
    const int32_t layer = trace().layer[LOADING];
    expect_map(layer, CHIP_LAYERS[layer].read, at, "input");
}

// Of the pass whose weights load.
inline void map_joined(int32_t at) {
    const int32_t layer = trace().layer[WEIGHING];
    expect_map(layer, CHIP_LAYERS[layer].joined, at, "shortcut");
}

inline void map_written(int32_t at, const Word &word) {
    MapState &state = map_state();
    if (state.arena) {
        const int64_t home = home_of(CHIP_LAYERS[trace().layer[COMPUTING]].written, at);
        state.holds[at] = home + 1;
        state.arena[home] = word;
    }
}

}  // namespace sbfp
