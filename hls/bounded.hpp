// Counters that are no wider than their largest value needs.
#pragma once

#include <cstdint>

#include "bound_check.hpp"

namespace sbfp {

// All ones at and below the highest one of A.
template <uint32_t A>
struct Filled {
    static constexpr uint32_t TWO = A | (A >> 1);
    static constexpr uint32_t FOUR = TWO | (TWO >> 2);
    static constexpr uint32_t EIGHT = FOUR | (FOUR >> 4);
    static constexpr uint32_t SIXTEEN = EIGHT | (EIGHT >> 8);
    static constexpr uint32_t ALL = SIXTEEN | (SIXTEEN >> 16);
};

// The bits that values from 0 to MOST need; of others, which only what is not used may have, these bits.
template <int32_t MOST>
inline int32_t low_bits(int32_t value) {
#pragma HLS INLINE
    return static_cast<int32_t>(static_cast<uint32_t>(value) & Filled<static_cast<uint32_t>(MOST)>::ALL);
}

// A value from 0 to MOST, and no wider. C simulation stops at any other.
template <int32_t MOST>
inline int32_t bounded(int32_t value) {
#pragma HLS INLINE
    expect_within(value, MOST);
    return low_bits<MOST>(value);
}

}  // namespace sbfp
