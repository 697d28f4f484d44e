// Stages: pack the finished words of one pass, and write them to their place in
// the output map. A tile starts on a whole beat of its line.
#pragma once

#include "packing.hpp"

namespace sbfp {

// Rows of all words of a pass.
inline int32_t stored_rows(const Tile &tile, const Pass &pass) { return pass.last ? pass.outputs * tile.height : 0; }

inline void pack(const Layer &layer, const Tile &tile, const Pass &pass, hls::stream<Word> &results,
                 hls::stream<Word> &packed) {
#pragma HLS INLINE off
    const int32_t rows = stored_rows(tile, pass);
PACK_ROWS:
    for (int32_t row = 0; row < rows; ++row) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
        LaneBits waiting = no_bits();
    PACK_WORDS:
        for (int32_t x = 0; x < tile.width; ++x) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
#pragma HLS PIPELINE II=1
            count(layer, COUNT_PACK);
            give_word(waiting, layer.out_bits, results.read(), packed);
        }
        flush_bits(waiting, packed);
    }
}

inline void store(const Layer &layer, const Tile &tile, const Pass &pass, hls::stream<Word> &packed, Word *memory) {
#pragma HLS INLINE off
    const int32_t rows = stored_rows(tile, pass);
    const int32_t length = beats(tile.width, layer.out_bits, 0);
    int32_t target = layer.out_address + (pass.out_word * layer.out_height + tile.y) * layer.out_line_beats +
                     ((tile.x * layer.out_bits) >> 3);
    const int32_t next_word = (layer.out_height - tile.height + 1) * layer.out_line_beats;
    int32_t row = 0;
STORE_ROWS:
    for (int32_t n = 0; n < rows; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
        count(layer, BURSTS_OUT);
    STORE_BURST:
        for (int32_t i = 0; i < length; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
#pragma HLS PIPELINE II=1
            count(layer, COUNT_STORE);
            memory[target + i] = packed.read();
        }
        if (row == tile.height - 1) {
            row = 0;
            target += next_word;
        } else {
            row += 1;
            target += layer.out_line_beats;
        }
    }
}

}  // namespace sbfp
