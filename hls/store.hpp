// Stages: pack the finished words of one pass, and write them to their place in
// the output map, in the map that max pooling makes of it, or in both. A tile
// starts on a whole beat of its line.
#pragma once

#include "packing.hpp"
#include "trace.hpp"
#include "walk.hpp"

namespace sbfp {

// Rows of the pooled map that are complete before row y of the computed one.
inline int32_t pooled_rows(const Layer &layer, int32_t y) {
    const int32_t complete = (y + layer.pool_top + 2 - layer.pool_height) >> 1;
    return y == layer.out_height ? layer.pooled_height : complete > 0 ? complete : 0;
}

// Words to store of row y of a tile, and of the pooled row that it completes; zero where there are none.
struct RowParts {
    int32_t kept;
    int32_t pooled;
};

inline RowParts row_parts(const Layer &layer, const Tile &tile, int32_t y) {
    RowParts parts;
    parts.kept = layer.keeps_map ? tile.width : 0;
    const bool completes =
        HAS_FUSED_POOL && layer.pool != 0 && pooled_rows(layer, y + 1) != pooled_rows(layer, y);
    parts.pooled = completes ? layer.pooled_width : 0;
    return parts;
}

// kept, pooled: row by row; a pooled row follows the one that completes it, and
// waits in its stream while that one goes out.
inline void pack(const Layer &layer, const Tile &tile, const Pass &pass, hls::stream<Word> &kept,
                 hls::stream<Word> &pooled, hls::stream<Word> &packed) {
#pragma HLS INLINE off
    const int32_t rows = finished_rows(tile, pass);
    int32_t y = tile.y;
PACK_ROWS:
    for (int32_t row = 0; row < rows; ++row) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
        const RowParts parts = row_parts(layer, tile, y);
    PACK_PARTS:
        for (int part = 0; part < 2; ++part) {
            const int32_t words = part == 0 ? parts.kept : parts.pooled;
            LaneBits waiting = no_bits();
        PACK_WORDS:
            for (int32_t x = 0; x < words; ++x) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
#pragma HLS PIPELINE II=1
                count(layer, COUNT_PACK);
                Word word;
                if (HAS_FUSED_POOL && part != 0) {
                    word = pooled.read();
                } else {
                    word = kept.read();
                }
                give_word(waiting, layer.out_bits, word, packed);
            }
            flush_bits(waiting, packed);
        }
        y = y == tile.y + tile.height - 1 ? tile.y : y + 1;
    }
}

// Rows that follow each other in memory without a gap are one burst, unless rows
// of both maps take turns.
inline void store(const Layer &layer, const Tile &tile, const Pass &pass, hls::stream<Word> &packed, Word *memory) {
#pragma HLS INLINE off
    const int32_t rows = finished_rows(tile, pass);
    const bool pools = HAS_FUSED_POOL && layer.pool != 0;
    const int32_t first_pooled = pools ? pooled_rows(layer, tile.y) : 0;
    const int32_t pooled = pools ? pooled_rows(layer, tile.y + tile.height) - first_pooled : 0;
    const bool both = pools && layer.keeps_map != 0;
    const bool whole_lines = pools || tile.width == layer.out_width;
    const bool whole_planes = whole_lines && tile.height == layer.out_height;
    const int32_t of_word = pools ? pooled : tile.height;
    const int32_t together = both || !whole_lines ? 1 : whole_planes ? pass.outputs * of_word : of_word;
    // where the next row goes, and how far it is from the last row of a word to the first of the next
    int32_t map_target = layer.out_address + (pass.out_word * layer.out_height + tile.y) * layer.out_line_beats +
                         ((tile.x * layer.out_bits) >> 3);
    const int32_t next_map = (layer.out_height - tile.height) * layer.out_line_beats;
    int32_t pooled_target =
        layer.pooled_address + (pass.out_word * layer.pooled_height + first_pooled) * layer.pooled_line_beats;
    const int32_t next_pooled = (layer.pooled_height - pooled) * layer.pooled_line_beats;
    int32_t y = tile.y;
    int32_t done = 0;  // rows that the last burst had besides its first one
STORE_ROWS:
    for (int32_t n = 0; n < rows; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
        const RowParts parts = row_parts(layer, tile, y);
    STORE_PARTS:
        for (int part = 0; part < 2; ++part) {
            const int32_t words = part == 0 ? parts.kept : parts.pooled;
            const int32_t of_row = beats(words, layer.out_bits, 0);
            const int32_t target = part == 0 ? map_target : pooled_target;
            int32_t length = 0;
            if (of_row > 0 && done > 0) {
                done -= 1;
            } else if (of_row > 0) {
                length = together * of_row;
                done = together - 1;
                count(layer, BURSTS_OUT);
            }
        STORE_BURST:
            for (int32_t i = 0; i < length; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16384
#pragma HLS PIPELINE II=1
                count(layer, COUNT_STORE);
                memory[target + i] = packed.read();
            }
        }
        map_target += layer.out_line_beats;
        pooled_target += parts.pooled > 0 ? layer.pooled_line_beats : 0;
        if (y == tile.y + tile.height - 1) {
            y = tile.y;
            map_target += next_map;
            pooled_target += next_pooled;
        } else {
            y += 1;
        }
    }
}

}  // namespace sbfp
