// Counting of loop iterations and bursts: nothing in synthesis. The C
// simulation's version is hls/csim/trace.hpp; only the include path differs.
#pragma once

#include "loops.hpp"

namespace sbfp {

inline void begin_step(int32_t, int32_t, int32_t) {
#pragma HLS INLINE
}

inline void begin_fetch(int32_t) {
#pragma HLS INLINE
}

inline void count(Loop) {
#pragma HLS INLINE
}

}  // namespace sbfp
