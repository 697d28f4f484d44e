// Checks of the maps on chip: nothing in synthesis. The C simulation's version
// is hls/csim/map_check.hpp; only the include path differs.
#pragma once

#include "words.hpp"

namespace sbfp {

inline void begin_maps(Word *) {
#pragma HLS INLINE
}

inline void begin_map(int32_t) {
#pragma HLS INLINE
}

inline void map_read(int32_t) {
#pragma HLS INLINE
}

inline void map_joined(int32_t) {
#pragma HLS INLINE
}

inline void map_written(int32_t, const Word &) {
#pragma HLS INLINE
}

}  // namespace sbfp
