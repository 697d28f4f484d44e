// Stage: write the finished words of one pass to their place in the output map.
#pragma once

#include "hls_stream.h"
#include "types.hpp"

namespace sbfp {

inline void store(const Layer &layer, const Tile &tile, int32_t index, hls::stream<Word> &results, Word *memory) {
#pragma HLS INLINE off
    const Pass pass = make_pass(layer, tile, index);
    const int32_t rows = pass.last ? tile.height : 0;
    int32_t target = layer.out_address + (pass.out_word * layer.out_height + tile.y) * layer.out_width + tile.x;
STORE_ROWS:
    for (int32_t row = 0; row < rows; ++row) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
        count(BURSTS_OUT);
    STORE_BURST:
        for (int32_t x = 0; x < tile.width; ++x) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
#pragma HLS PIPELINE II=1
            count(COUNT_STORE);
            memory[target + x] = results.read();
        }
        target += layer.out_width;
    }
}

}  // namespace sbfp
