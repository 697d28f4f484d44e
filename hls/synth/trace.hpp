// Counting of loop iterations and bursts: nothing in synthesis. The C
// simulation's version is hls/csim/trace.hpp; only the include path differs.
#pragma once

#include "loops.hpp"

namespace sbfp {

template <typename L>
inline void count(const L &, Loop) {
#pragma HLS INLINE
}

}  // namespace sbfp
