// Stages: pack the finished words of one pass, and write them to their place in
// the output map. A tile starts on a whole beat of its line.
#pragma once

#include "packing.hpp"

namespace sbfp {

// The part of a plane that is stored of a tile.
struct StoredPart {
    int32_t row;
    int32_t height;
    int32_t width;
};

// Rows of the pooled map that are complete before row y of the computed one.
inline int32_t pooled_rows(const Layer &layer, int32_t y) {
    const int32_t complete = (y + layer.pool_top + 2 - layer.pool_height) >> 1;
    return y == layer.out_height ? layer.stored_height : complete > 0 ? complete : 0;
}

inline StoredPart stored_part(const Layer &layer, const Tile &tile) {
    StoredPart part;
    part.row = layer.pool ? pooled_rows(layer, tile.y) : tile.y;
    part.height = (layer.pool ? pooled_rows(layer, tile.y + tile.height) : tile.y + tile.height) - part.row;
    part.width = layer.pool ? layer.stored_width : tile.width;
    return part;
}

inline void pack(const Layer &layer, const Tile &tile, const Pass &pass, hls::stream<Word> &results,
                 hls::stream<Word> &packed) {
#pragma HLS INLINE off
    const StoredPart part = stored_part(layer, tile);
    const int32_t rows = pass.last ? pass.outputs * part.height : 0;
PACK_ROWS:
    for (int32_t row = 0; row < rows; ++row) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
        LaneBits waiting = no_bits();
    PACK_WORDS:
        for (int32_t x = 0; x < part.width; ++x) {
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
    const StoredPart part = stored_part(layer, tile);
    const int32_t rows = pass.last ? pass.outputs * part.height : 0;
    const int32_t length = beats(part.width, layer.out_bits, 0);
    int32_t target = layer.out_address + (pass.out_word * layer.stored_height + part.row) * layer.out_line_beats +
                     ((tile.x * layer.out_bits) >> 3);
    const int32_t next_word = (layer.stored_height - part.height + 1) * layer.out_line_beats;
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
        if (row == part.height - 1) {
            row = 0;
            target += next_word;
        } else {
            row += 1;
            target += layer.out_line_beats;
        }
    }
}

}  // namespace sbfp
