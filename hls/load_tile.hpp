// Stage: lay the input of a tile out in the buffer, some of its lines at a time.
// Columns that no window uses are dropped, and with few channels several columns
// are folded into a word.
#pragma once

#include "fetch_tile.hpp"
#include "hls_stream.h"
#include "trace.hpp"
#include "walk.hpp"
#include "window.hpp"

namespace sbfp {

// Where the next word of a line goes.
struct Line {
    Place at;
    int32_t missing;  // columns until the first word is complete
    int32_t skip;     // columns until the next one that is used
    Word window;      // the last `taps` columns, oldest first
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

// columns: of every line, padding included.
inline void load_tile(const Layer &layer, const Tile &tile, const Slice &slice, hls::stream<Word> &columns,
                      Word input[BANKS][BANK_ROWS]) {
#pragma HLS INLINE off
    const int32_t count_of_columns = layer.in_pool != UNPOOLED ? tile.in_width : tile.map_columns;
    const Place gap = place(tile.pitch - tile.in_width);
    Line line;
    line.at = place(slice.line * tile.pitch);
    line.window = fill<int8_t, LANES>(0);
LOAD_LINES:
    for (int32_t n = 0; n < slice.lines; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=4096
        line.missing = layer.taps - 1;
        line.skip = 0;
    LOAD_WORDS:
        for (int32_t i = 0; i < count_of_columns; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
#pragma HLS PIPELINE II=1
            count(layer, COUNT_LOAD_TILE);
            feed(layer, input, line, columns.read());
        }
        line.at = move(line.at, gap);
    }
}

}  // namespace sbfp
