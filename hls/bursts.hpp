// Bursts on a map in memory, plane after plane: what a job says of them.
#pragma once

#include <cstdint>

#include "bounded.hpp"
#include "config.hpp"

namespace sbfp {

// Where the next burst starts.
struct BurstWalk {
    int32_t plane;   // of the first burst of this plane
    int32_t source;
    int32_t left;    // bursts of this plane
};

// inside: words from the plane's first burst to the one that comes first; left: how many are left with it.
inline BurstWalk first_burst(int32_t plane, int32_t inside, int32_t left) {
#pragma HLS INLINE
    BurstWalk walk;
    walk.plane = plane;
    walk.source = plane + inside;
    walk.left = left;
    return walk;
}

// To the next burst, of this plane or the next; behind the last one is none. MOST: bursts of a plane.
template <int32_t MOST>
inline void next_burst(BurstWalk &walk, int32_t step, int32_t plane_step, int32_t plane_bursts) {
#pragma HLS INLINE
    if (walk.left == 1) {
        walk.plane = low_bits<MOST_ADDRESS>(walk.plane + plane_step);
        walk.source = walk.plane;
        walk.left = plane_bursts;
    } else {
        walk.source = low_bits<MOST_ADDRESS>(walk.source + step);
        walk.left = bounded<MOST>(walk.left - 1);
    }
}

}  // namespace sbfp
