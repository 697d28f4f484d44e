// Checks in C simulation that counters keep to the bounds that code generation
// has computed for them. Synthesis takes the empty version in hls/synth: only
// the include path differs.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace sbfp {

inline void expect_within(int32_t value, int32_t most) {
    if (value < 0 || value > most) {
        std::fprintf(stderr, "a counter is %d, and its bound is %d\n", value, most);
        std::abort();
    }
}

// What the constants of a job promise of each other.
inline void expect_true(bool holds, const char *what) {
    if (!holds) {
        std::fprintf(stderr, "%s\n", what);
        std::abort();
    }
}

}  // namespace sbfp
