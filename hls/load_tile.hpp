// Stages: fetch the input of one tile, with its halo, and lay it out in the
// buffer; some of its lines at a time. Padding is written out, so that the compute stages need no
// conditions. Columns that no window uses are dropped, and with few channels
// several columns are folded into a word.
#pragma once

#include "packing.hpp"
#include "window.hpp"

namespace sbfp {

// The columns of the map that the lines of a tile take.
struct Columns {
    int32_t count;  // padding included
    int32_t from;   // those that exist: [from, to), counted from the line's start
    int32_t to;
    int32_t skip;   // bits of the first beat that belong to columns before
    int32_t first;  // beat of the first column, counted from the map's line
    int32_t beats;
};

inline Columns tile_columns(const Layer &layer, const Tile &tile) {
    Columns columns;
    const int32_t left = tile.x * layer.stride_width - layer.pad_left;
    columns.count = (tile.in_width - 1) * layer.col_step + layer.taps;
    columns.from = left < 0 ? least(-left, columns.count) : 0;
    const int32_t inside = least(columns.count, layer.in_width - left);
    columns.to = inside > columns.from ? inside : columns.from;
    const int32_t start_bit = columns.to > columns.from ? (left + columns.from) * layer.in_bits : 0;
    columns.skip = start_bit & 7;
    columns.first = start_bit >> 3;
    columns.beats = columns.to > columns.from ? beats(columns.to - columns.from, layer.in_bits, columns.skip) : 0;
    return columns;
}

// Map row of a line of the buffer.
inline int32_t map_row(const Layer &layer, const Tile &tile, int32_t row) {
    return tile.y * layer.stride_height - layer.pad_top + row * layer.row_step;
}

// Lines of a tile that load with one pass: so many from `line` on, counted through the rows, then through the words.
struct Slice {
    int32_t line;
    int32_t lines;
};

inline void fetch_tile(const Layer &layer, const Tile &tile, const Slice &slice, const Word *memory,
                       hls::stream<Word> &fetched) {
#pragma HLS INLINE off
    const Columns columns = tile_columns(layer, tile);
    int32_t word = slice.line / tile.in_height;
    int32_t row = slice.line % tile.in_height;
FETCH_LINES:
    for (int32_t n = 0; n < slice.lines; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=4096
        const int32_t y = map_row(layer, tile, row);
        const bool exists = y >= 0 && y < layer.in_height;
        const int32_t length = exists ? columns.beats : 0;
        const int32_t source = layer.in_address +
                               ((tile.word + word) * layer.in_height + y) * layer.in_line_beats + columns.first;
        if (length > 0) {
            count(layer, BURSTS_IN);
        }
    FETCH_BURST:
        for (int32_t i = 0; i < length; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
#pragma HLS PIPELINE II=1
            count(layer, COUNT_FETCH_TILE);
            fetched.write(memory[source + i]);
        }
        if (row == tile.in_height - 1) {
            row = 0;
            word += 1;
        } else {
            row += 1;
        }
    }
}

// Where the next word of a line goes.
struct Line {
    Place at;
    Word window;      // the last `taps` columns, oldest first
    int32_t missing;  // columns until the first word is complete
    int32_t skip;     // columns until the next one that is used
};

// Shift a column into the window, and store the window if it is one that is used.
inline void feed(const Layer &layer, Word input[BANKS][BANK_ROWS], Line &line, Word column) {
#pragma HLS INLINE
    const int32_t newest = (layer.taps - 1) * layer.tap_channels;
    Word next = column;
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        const int32_t older = c + layer.tap_channels;
        if (c < newest) {
            next.lane[c] = line.window.lane[older < LANES ? older : 0];
        } else {
            next.lane[c] = column.lane[c - newest];
        }
    }
    line.window = next;
    if (line.missing > 0) {
        line.missing -= 1;
    } else if (line.skip > 0) {
        line.skip -= 1;
    } else {
        input[line.at.bank][line.at.row] = line.window;
        line.at = move(line.at, place(1));
        line.skip = layer.col_step - 1;
    }
}

inline void fill_words(const Layer &layer, Word input[BANKS][BANK_ROWS], Line &line, int32_t words, Word value) {
#pragma HLS INLINE
FILL:
    for (int32_t i = 0; i < words; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=64
#pragma HLS PIPELINE II=1
        count(layer, COUNT_FILL);
        feed(layer, input, line, value);
    }
}

inline void load_tile(const Layer &layer, const Tile &tile, const Slice &slice, hls::stream<Word> &fetched,
                      Word input[BANKS][BANK_ROWS]) {
#pragma HLS INLINE off
    const Columns columns = tile_columns(layer, tile);
    const Word padding = fill_word(layer.pad_value);
    const Place gap = place(tile.pitch - tile.in_width);
    Line line;
    line.at = place(slice.line * tile.pitch);
    line.window = fill_word(0);
    int32_t row = slice.line % tile.in_height;
LOAD_LINES:
    for (int32_t n = 0; n < slice.lines; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=4096
        const int32_t y = map_row(layer, tile, row);
        const bool exists = y >= 0 && y < layer.in_height && columns.beats > 0;
        const int32_t begin = exists ? columns.from : columns.count;
        const int32_t end = exists ? columns.to : columns.count;
        LaneBits waiting = no_bits();
        line.missing = layer.taps - 1;
        line.skip = 0;
        fill_words(layer, input, line, begin, padding);
        if (exists) {
            skip_bits(waiting, columns.skip, fetched);
        }
    LOAD_WORDS:
        for (int32_t i = 0; i < end - begin; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
#pragma HLS PIPELINE II=1
            count(layer, COUNT_LOAD_TILE);
            feed(layer, input, line, take_word(waiting, layer.in_bits, layer.in_unsigned, fetched));
        }
        fill_words(layer, input, line, columns.count - end, padding);
        line.at = move(line.at, gap);
        row = row == tile.in_height - 1 ? 0 : row + 1;
    }
}

}  // namespace sbfp
