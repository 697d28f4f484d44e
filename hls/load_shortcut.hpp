// Stages: fetch the shortcut of one pass and unpack it, in the order in which
// sums complete.
#pragma once

#include "packing.hpp"

namespace sbfp {

inline int32_t shortcut_rows(const Layer &layer, const Tile &tile, const Pass &pass) {
    return layer.has_shortcut && pass.last ? tile.height : 0;
}

inline void fetch_shortcut(const Layer &layer, const Tile &tile, int32_t index, const Word *memory,
                           hls::stream<Word> &fetched) {
#pragma HLS INLINE off
    const Pass pass = make_pass(layer, tile, index);
    const int32_t rows = shortcut_rows(layer, tile, pass);
    const int32_t start_bit = tile.x * layer.shortcut_bits;
    const int32_t length = beats(tile.width, layer.shortcut_bits, start_bit & 7);
    int32_t source = layer.shortcut_address +
                     (pass.out_word * layer.out_height + tile.y) * layer.shortcut_line_beats + (start_bit >> 3);
FETCH_SHORTCUT_ROWS:
    for (int32_t row = 0; row < rows; ++row) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
        count(BURSTS_SHORTCUT);
    FETCH_SHORTCUT_BURST:
        for (int32_t i = 0; i < length; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
#pragma HLS PIPELINE II=1
            count(COUNT_FETCH_SHORTCUT);
            fetched.write(memory[source + i]);
        }
        source += layer.shortcut_line_beats;
    }
}

inline void load_shortcut(const Layer &layer, const Tile &tile, int32_t index, hls::stream<Word> &fetched,
                          hls::stream<Word> &shortcut) {
#pragma HLS INLINE off
    const Pass pass = make_pass(layer, tile, index);
    const int32_t rows = shortcut_rows(layer, tile, pass);
SHORTCUT_ROWS:
    for (int32_t row = 0; row < rows; ++row) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
        LaneBits waiting = no_bits();
        skip_bits(waiting, (tile.x * layer.shortcut_bits) & 7, fetched);
    SHORTCUT_WORDS:
        for (int32_t x = 0; x < tile.width; ++x) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
#pragma HLS PIPELINE II=1
            count(COUNT_LOAD_SHORTCUT);
            shortcut.write(take_word(waiting, layer.shortcut_bits, layer.shortcut_unsigned, fetched));
        }
    }
}

}  // namespace sbfp
