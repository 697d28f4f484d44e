// Stage: fetch the input of one tile, with its halo; padding is written out,
// so that the compute stages need no conditions.
#pragma once

#include "window.hpp"

namespace sbfp {

inline Place put(TileBuffer &input, Place at, Word value) {
#pragma HLS INLINE
    input.bank[at.bank][at.row] = value;
    return move(at, place(1));
}

inline Place fill_words(TileBuffer &input, Place at, int32_t words, Word value) {
#pragma HLS INLINE
FILL:
    for (int32_t i = 0; i < words; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=64
#pragma HLS PIPELINE II=1
        count(COUNT_FILL);
        at = put(input, at, value);
    }
    return at;
}

inline void load_tile(const Layer &layer, int32_t index, const Word *memory, TileBuffer &input) {
#pragma HLS INLINE off
    const Tile tile = make_tile(layer, index);
    const Word padding = fill_word(layer.pad_value);
    const int32_t top = tile.y * layer.stride_height - layer.pad_top;
    const int32_t left = tile.x * layer.stride_width - layer.pad_left;
    // columns of the tile that exist in the map: [from, to)
    const int32_t from = left < 0 ? least(-left, tile.in_width) : 0;
    const int32_t inside = least(tile.in_width, layer.in_width - left);
    const int32_t to = inside > from ? inside : from;
    const Place gap = place(tile.pitch - tile.in_width);
    Place at = place(0);
    int32_t word = 0;
    int32_t row = 0;
    const int32_t lines = tile.words * tile.in_height;
LOAD_LINES:
    for (int32_t line = 0; line < lines; ++line) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=4096
        const int32_t y = top + row;
        const bool exists = y >= 0 && y < layer.in_height;
        const int32_t begin = exists ? from : tile.in_width;
        const int32_t end = exists ? to : tile.in_width;
        const int32_t source =
            layer.in_address + ((tile.word + word) * layer.in_height + y) * layer.in_width + left + begin;
        at = fill_words(input, at, begin, padding);
        if (end > begin) {
            count(BURSTS_IN);
        }
    LOAD_BURST:
        for (int32_t i = 0; i < end - begin; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
#pragma HLS PIPELINE II=1
            count(COUNT_LOAD_TILE);
            at = put(input, at, memory[source + i]);
        }
        at = fill_words(input, at, tile.in_width - end, padding);
        at = move(at, gap);
        if (row == tile.in_height - 1) {
            row = 0;
            word += 1;
        } else {
            row += 1;
        }
    }
}

}  // namespace sbfp
