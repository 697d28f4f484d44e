// Stage: fetch the shortcut of one pass, in the order in which sums complete.
#pragma once

#include "hls_stream.h"
#include "types.hpp"

namespace sbfp {

inline void load_shortcut(const Layer &layer, const Tile &tile, int32_t index, const Word *memory,
                          hls::stream<Word> &shortcut) {
#pragma HLS INLINE off
    const Pass pass = make_pass(layer, tile, index);
    const int32_t rows = layer.has_shortcut && pass.last ? tile.height : 0;
    int32_t source =
        layer.shortcut_address + (pass.out_word * layer.out_height + tile.y) * layer.out_width + tile.x;
SHORTCUT_ROWS:
    for (int32_t row = 0; row < rows; ++row) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
        count(BURSTS_SHORTCUT);
    SHORTCUT_BURST:
        for (int32_t x = 0; x < tile.width; ++x) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
#pragma HLS PIPELINE II=1
            count(COUNT_LOAD_SHORTCUT);
            shortcut.write(memory[source + x]);
        }
        source += layer.out_width;
    }
}

}  // namespace sbfp
