// Walks the windows of a tile: for every output word of a pass and every block
// of output pixels, all parts of the output word, all input words and kernel
// positions, one a cycle.
//
// The input buffer has BANKS banks; word number n of a tile lies in bank
// n % BANKS. Rows are padded to a pitch with
//     pitch * stride_height == tile_width * stride_width   (mod BANKS)
// (strides as the buffer has them)
// so that output pixel n, counted across the rows, starts at a word congruent
// to n * stride_width. BANKS is a prime that does not divide the stride, so
// that BANKS consecutive pixels always read from different banks.
#pragma once

#include "types.hpp"

namespace sbfp {

// The input of one tile is one memory per bank.
constexpr int BANK_ROWS = INPUT_WORDS / BANKS;

// A word of the tile buffer.
struct Place {
    int32_t row;
    int32_t bank;
};

inline Place place(int32_t word) {
    Place p;
    p.row = word / BANKS;
    p.bank = word % BANKS;
    return p;
}

inline Place move(Place from, Place by) {
#pragma HLS INLINE
    Place to;
    to.row = from.row + by.row;
    to.bank = from.bank + by.bank;
    if (to.bank >= BANKS) {
        to.bank -= BANKS;
        to.row += 1;
    }
    return to;
}

struct WindowWalk {
    // constants of the pass
    int32_t outputs;     // words of output channels
    int32_t parts;
    int32_t steps;       // cycles per block and part
    int32_t blocks;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t block_pixels;
    int32_t tile_width;
    Place column;        // from a window to the next one in its row
    Place next_line;     // from the last window of a row to the first of the next
    Place next_col;      // from a kernel column to the next one
    Place next_row;      // from the last kernel column to the next kernel row
    Place next_word;     // from the last kernel position to the next input word
    Place next_output;   // from the first input word of an output word to that of the next
    // position
    Place start;         // first input word
    int32_t output;
    int32_t block;
    int32_t part;
    int32_t step;
    int32_t kx;
    int32_t ky;
    int32_t word;
    Place offset;        // within the window
    int32_t pixels;      // of an output word
    int32_t pixels_left;
    int32_t x;
    Place next_pixel;
    Place base[PIXELS];  // of each pixel lane's window
};

// Windows of the next block. Lanes beyond the tile's last pixel repeat it, lanes
// beyond block_pixels repeat the first; their results are dropped.
inline void place_pixels(WindowWalk &walk) {
    for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
        const bool used = p < walk.block_pixels;
        walk.base[p] = used ? walk.next_pixel : walk.base[0];
        if (used && walk.pixels_left > 1) {
            walk.pixels_left -= 1;
            if (walk.x == walk.tile_width - 1) {
                walk.x = 0;
                walk.next_pixel = move(walk.next_pixel, walk.next_line);
            } else {
                walk.x += 1;
                walk.next_pixel = move(walk.next_pixel, walk.column);
            }
        }
    }
}

// Back to the tile's first block of pixels.
inline void first_pixels(WindowWalk &walk) {
#pragma HLS INLINE
    walk.block = 0;
    walk.pixels_left = walk.pixels;
    walk.x = 0;
    walk.next_pixel = place(0);
    walk.base[0] = place(0);
    place_pixels(walk);
}

// parts: of an output word, computed one after the other. Every output word of a
// dense convolution reads all input words, of the other operators its own one.
inline WindowWalk start_walk(const Layer &layer, const Tile &tile, const Pass &pass, int32_t parts) {
    WindowWalk walk;
    const int32_t plane = tile.in_height * tile.pitch;
    const int32_t last_kernel_column = (layer.kernel_width - 1) * layer.taps;
    walk.outputs = pass.outputs;
    walk.parts = parts;
    walk.steps = pass.words * layer.kernel_height * layer.kernel_width;
    walk.block_pixels = layer.block_pixels;
    walk.pixels = tile.height * tile.width;
    walk.blocks = layer.block_pixels == 1 ? walk.pixels : (walk.pixels + PIXELS - 1) / PIXELS;
    walk.kernel_height = layer.kernel_height;
    walk.kernel_width = layer.kernel_width;
    walk.tile_width = tile.width;
    walk.column = place(layer.across);
    walk.next_line = place(layer.down * tile.pitch - (tile.width - 1) * layer.across);
    walk.next_col = place(layer.taps);
    walk.next_row = place(tile.pitch - last_kernel_column);
    walk.next_word = place(plane - (layer.kernel_height - 1) * tile.pitch - last_kernel_column);
    walk.next_output = place(layer.op == CONV ? 0 : plane);
    walk.start = place(pass.tile_word * plane);
    walk.output = 0;
    walk.part = 0;
    walk.step = 0;
    walk.kx = 0;
    walk.ky = 0;
    walk.word = 0;
    walk.offset = walk.start;
    first_pixels(walk);
    return walk;
}

// Cycles of a pass.
inline int32_t cycles(const WindowWalk &walk) { return walk.outputs * walk.blocks * walk.parts * walk.steps; }

// Whether this cycle is the last of a block of output pixels, and of an output word.
inline bool ends_block(const WindowWalk &walk) { return walk.step == walk.steps - 1 && walk.part == walk.parts - 1; }

inline bool ends_output(const WindowWalk &walk) { return ends_block(walk) && walk.block == walk.blocks - 1; }

// The words of all pixel lanes at the current position: every bank is read
// once for each group of BANKS lanes.
inline void read_pixels(const WindowWalk &walk, const Word input[BANKS][BANK_ROWS], Word activations[PIXELS]) {
#pragma HLS INLINE
    for (int group = 0; group < READS; ++group) {
#pragma HLS UNROLL
        const int first = group * BANKS;
        const int lanes = PIXELS - first < BANKS ? PIXELS - first : BANKS;
        Place from[BANKS];
#pragma HLS ARRAY_PARTITION variable=from complete
        int32_t row[BANKS];
#pragma HLS ARRAY_PARTITION variable=row complete
        Word data[BANKS];
#pragma HLS ARRAY_PARTITION variable=data complete
        for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
            row[b] = 0;
        }
        for (int p = 0; p < lanes; ++p) {
#pragma HLS UNROLL
            from[p] = move(walk.base[first + p], walk.offset);
            for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
                row[b] = from[p].bank == b ? from[p].row : row[b];
            }
        }
        for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
            data[b] = input[b][row[b]];
        }
        for (int p = 0; p < lanes; ++p) {
#pragma HLS UNROLL
            activations[first + p] = data[from[p].bank];
        }
    }
}

inline void advance(WindowWalk &walk) {
    if (walk.step == walk.steps - 1) {
        walk.step = 0;
        walk.kx = 0;
        walk.ky = 0;
        walk.word = 0;
        if (walk.part != walk.parts - 1) {
            walk.part += 1;
        } else if (walk.block != walk.blocks - 1) {
            walk.part = 0;
            walk.block += 1;
            place_pixels(walk);
        } else {
            walk.part = 0;
            walk.output += 1;
            walk.start = move(walk.start, walk.next_output);
            first_pixels(walk);
        }
        walk.offset = walk.start;
        return;
    }
    walk.step += 1;
    if (walk.kx != walk.kernel_width - 1) {
        walk.kx += 1;
        walk.offset = move(walk.offset, walk.next_col);
    } else if (walk.ky != walk.kernel_height - 1) {
        walk.kx = 0;
        walk.ky += 1;
        walk.offset = move(walk.offset, walk.next_row);
    } else {
        walk.kx = 0;
        walk.ky = 0;
        walk.word += 1;
        walk.offset = move(walk.offset, walk.next_word);
    }
}

}  // namespace sbfp
