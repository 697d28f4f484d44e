// Stages: fetch the input of one tile, with its halo, some of its lines at a
// time, and unpack it. Padding is written out, so that no later stage needs conditions.
#pragma once

#include "packing.hpp"
#include "trace.hpp"
#include "walk.hpp"

namespace sbfp {

// The columns of the map that the lines of a tile take.
struct Columns {
    int32_t from;   // those that exist: [from, to), counted from the line's start
    int32_t to;
    int32_t skip;   // bits of the first beat that belong to columns before
    int32_t first;  // beat of the first column, counted from the map's line
    int32_t beats;
};

inline Columns tile_columns(const Layer &layer, const Tile &tile) {
    Columns columns;
    const int32_t left = tile.x * layer.stride_width - layer.pad_left;
    columns.from = left < 0 ? least(-left, tile.map_columns) : 0;
    const int32_t inside = least(tile.map_columns, layer.in_width - left);
    columns.to = inside > columns.from ? inside : columns.from;
    const int32_t start_bit = columns.to > columns.from ? (left + columns.from) * layer.in_bits : 0;
    columns.skip = start_bit & 7;
    columns.first = start_bit >> 3;
    columns.beats = columns.to > columns.from ? beats(columns.to - columns.from, layer.in_bits, columns.skip) : 0;
    return columns;
}

// Map row of a line.
inline int32_t map_row(const Layer &layer, const Tile &tile, int32_t row) {
    return tile.y * layer.stride_height - layer.pad_top + row * layer.row_step;
}

// Lines of the map that follow each other in memory without a gap are one burst:
// some or all rows of a plane, and all planes where a tile has their rows and no others.
inline void fetch_tile(const Layer &layer, const Tile &tile, const Slice &slice, const Word *memory,
                       hls::stream<Word> &fetched) {
#pragma HLS INLINE off
    const Columns columns = tile_columns(layer, tile);
    const bool whole_lines = layer.row_step == 1 && columns.beats == layer.in_line_beats;
    const bool whole_planes = whole_lines && map_row(layer, tile, 0) == 0 && tile.map_rows == layer.in_height;
    int32_t word = slice.word;
    int32_t row = slice.row;
    int32_t done = 0;  // lines that the last burst had besides its first one
FETCH_LINES:
    for (int32_t n = 0; n < slice.map_lines; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=4096
        const int32_t y = map_row(layer, tile, row);
        const bool exists = y >= 0 && y < layer.in_height && columns.beats > 0;
        int32_t together = 0;
        if (exists && done > 0) {
            done -= 1;
        } else if (exists) {
            const int32_t left = slice.map_lines - n;
            const int32_t of_plane = least(least(layer.in_height - y, tile.map_rows - row), left);
            together = whole_planes ? left : whole_lines ? of_plane : 1;
            done = together - 1;
            count(layer, BURSTS_IN);
        }
        const int32_t length = together * columns.beats;
        const int32_t source = layer.in_address +
                               ((tile.word + word) * layer.in_height + y) * layer.in_line_beats + columns.first;
    FETCH_BURST:
        for (int32_t i = 0; i < length; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=16384
#pragma HLS PIPELINE II=1
            count(layer, COUNT_FETCH_TILE);
            fetched.write(memory[source + i]);
        }
        if (row == tile.map_rows - 1) {
            row = 0;
            word += 1;
        } else {
            row += 1;
        }
    }
}

inline void pad_words(const Layer &layer, int32_t words, hls::stream<Word> &unpacked) {
#pragma HLS INLINE
    const Word padding = fill<int8_t, LANES>(static_cast<int8_t>(layer.pad_value));
PAD:
    for (int32_t i = 0; i < words; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=64
#pragma HLS PIPELINE II=1
        count(layer, COUNT_PAD);
        unpacked.write(padding);
    }
}

// unpacked: every line in full, padding included.
inline void unpack_tile(const Layer &layer, const Tile &tile, const Slice &slice, hls::stream<Word> &fetched,
                        hls::stream<Word> &unpacked) {
#pragma HLS INLINE off
    const Columns columns = tile_columns(layer, tile);
    int32_t row = slice.row;
UNPACK_LINES:
    for (int32_t n = 0; n < slice.map_lines; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=4096
        const int32_t y = map_row(layer, tile, row);
        const bool exists = y >= 0 && y < layer.in_height && columns.beats > 0;
        const int32_t begin = exists ? columns.from : tile.map_columns;
        const int32_t end = exists ? columns.to : tile.map_columns;
        LaneBits waiting = no_bits();
        pad_words(layer, begin, unpacked);
        if (exists) {
            skip_bits(waiting, columns.skip, fetched);
        }
    UNPACK_WORDS:
        for (int32_t i = 0; i < end - begin; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
#pragma HLS PIPELINE II=1
            count(layer, COUNT_UNPACK_TILE);
            unpacked.write(take_word(waiting, layer.in_bits, layer.in_unsigned, fetched));
        }
        pad_words(layer, tile.map_columns - end, unpacked);
        row = row == tile.map_rows - 1 ? 0 : row + 1;
    }
}

}  // namespace sbfp
