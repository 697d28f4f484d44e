// Stages: fetch the shortcut of one pass and unpack it, in the order in which
// sums complete.
#pragma once

#include "packing.hpp"
#include "trace.hpp"
#include "walk.hpp"

namespace sbfp {

// Rows to add, of all words of a pass.
inline int32_t shortcut_rows(const Layer &layer, const Tile &tile, const Pass &pass) {
    return HAS_SHORTCUT && layer.has_shortcut ? finished_rows(tile, pass) : 0;
}

// Rows that follow each other in memory without a gap are one burst.
inline void fetch_shortcut(const Layer &layer, const Tile &tile, const Pass &pass, const Word *memory,
                           hls::stream<Word> &fetched) {
#pragma HLS INLINE off
    const int32_t rows = shortcut_rows(layer, tile, pass);
    const int32_t start_bit = tile.x * layer.shortcut_bits;
    const int32_t of_row = beats(tile.width, layer.shortcut_bits, start_bit & 7);
    const bool whole_lines = of_row == layer.shortcut_line_beats;
    const bool whole_planes = whole_lines && tile.height == layer.out_height;
    const int32_t together = whole_planes ? rows : whole_lines ? tile.height : 1;
    const int32_t length = together * of_row;
    int32_t source = layer.shortcut_address +
                     (pass.out_word * layer.out_height + tile.y) * layer.shortcut_line_beats + (start_bit >> 3);
    const int32_t next_word = (layer.out_height - tile.height + 1) * layer.shortcut_line_beats;
    int32_t row = 0;
    int32_t done = 0;  // rows that the last burst had besides its first one
    if (HAS_SHORTCUT) {
    FETCH_SHORTCUT_ROWS:
        for (int32_t n = 0; n < rows; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
            const int32_t now = done == 0 ? length : 0;
            if (now > 0) {
                count(layer, BURSTS_SHORTCUT);
            }
        FETCH_SHORTCUT_BURST:
            for (int32_t i = 0; i < now; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16384
#pragma HLS PIPELINE II=1
                count(layer, COUNT_FETCH_SHORTCUT);
                fetched.write(memory[source + i]);
            }
            done = done == 0 ? together - 1 : done - 1;
            if (row == tile.height - 1) {
                row = 0;
                source += next_word;
            } else {
                row += 1;
                source += layer.shortcut_line_beats;
            }
        }
    }
}

inline void load_shortcut(const Layer &layer, const Tile &tile, const Pass &pass, hls::stream<Word> &fetched,
                          hls::stream<Word> &shortcut) {
#pragma HLS INLINE off
    const int32_t rows = shortcut_rows(layer, tile, pass);
    if (HAS_SHORTCUT) {
    SHORTCUT_ROWS:
        for (int32_t row = 0; row < rows; ++row) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
            LaneBits waiting = no_bits();
            skip_bits(waiting, (tile.x * layer.shortcut_bits) & 7, fetched);
        SHORTCUT_WORDS:
            for (int32_t x = 0; x < tile.width; ++x) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
#pragma HLS PIPELINE II=1
                count(layer, COUNT_LOAD_SHORTCUT);
                shortcut.write(take_word(waiting, layer.shortcut_bits, layer.shortcut_unsigned, fetched));
            }
        }
    }
}

}  // namespace sbfp
