// Stage: fetch the input of one tile, with its halo; padding is written out,
// so that the compute stages need no conditions. Columns that no window uses
// are dropped, and with few channels several columns are folded into a word.
#pragma once

#include "window.hpp"

namespace sbfp {

// Where the next word of a line goes.
struct Line {
    Place at;
    Word window;      // the last `taps` columns, oldest first
    int32_t missing;  // columns until the first word is complete
    int32_t skip;     // columns until the next one that is used
};

// Shift a column into the window, and store the window if it is one that is used.
inline void feed(const Layer &layer, TileBuffer &input, Line &line, Word column) {
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
        input.bank[line.at.bank][line.at.row] = line.window;
        line.at = move(line.at, place(1));
        line.skip = layer.col_step - 1;
    }
}

inline void fill_words(const Layer &layer, TileBuffer &input, Line &line, int32_t words, Word value) {
#pragma HLS INLINE
FILL:
    for (int32_t i = 0; i < words; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=64
#pragma HLS PIPELINE II=1
        count(COUNT_FILL);
        feed(layer, input, line, value);
    }
}

inline void load_tile(const Layer &layer, int32_t index, const Word *memory, TileBuffer &input) {
#pragma HLS INLINE off
    const Tile tile = make_tile(layer, index);
    const Word padding = fill_word(layer.pad_value);
    const int32_t top = tile.y * layer.stride_height - layer.pad_top;
    const int32_t left = tile.x * layer.stride_width - layer.pad_left;
    // columns of the map that a line takes, and those of them that exist: [from, to)
    const int32_t columns = (tile.in_width - 1) * layer.col_step + layer.taps;
    const int32_t from = left < 0 ? least(-left, columns) : 0;
    const int32_t inside = least(columns, layer.in_width - left);
    const int32_t to = inside > from ? inside : from;
    const Place gap = place(tile.pitch - tile.in_width);
    Line line;
    line.at = place(0);
    line.window = fill_word(0);
    int32_t word = 0;
    int32_t row = 0;
    const int32_t lines = tile.words * tile.in_height;
LOAD_LINES:
    for (int32_t n = 0; n < lines; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=4096
        const int32_t y = top + row * layer.row_step;
        const bool exists = y >= 0 && y < layer.in_height;
        const int32_t begin = exists ? from : columns;
        const int32_t end = exists ? to : columns;
        const int32_t source =
            layer.in_address + ((tile.word + word) * layer.in_height + y) * layer.in_width + left + begin;
        line.missing = layer.taps - 1;
        line.skip = 0;
        fill_words(layer, input, line, begin, padding);
        if (end > begin) {
            count(BURSTS_IN);
        }
    LOAD_BURST:
        for (int32_t i = 0; i < end - begin; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=0 max=256
#pragma HLS PIPELINE II=1
            count(COUNT_LOAD_TILE);
            feed(layer, input, line, memory[source + i]);
        }
        fill_words(layer, input, line, columns - end, padding);
        line.at = move(line.at, gap);
        if (row == tile.in_height - 1) {
            row = 0;
            word += 1;
        } else {
            row += 1;
        }
    }
}

}  // namespace sbfp
