// Checks of counters and jobs: nothing in synthesis. The C simulation's version
// is hls/csim/bound_check.hpp; only the include path differs.
#pragma once

#include <cstdint>

namespace sbfp {

inline void expect_within(int32_t, int32_t) {
#pragma HLS INLINE
}

inline void expect_true(bool, const char *) {
#pragma HLS INLINE
}

}  // namespace sbfp
