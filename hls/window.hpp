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

#include "trace.hpp"
#include "walk.hpp"
#include "words.hpp"

namespace sbfp {

// The input of one tile is one memory per bank.
constexpr int BANK_ROWS = INPUT_WORDS / BANKS;

// A word of the tile buffer.
struct Place {
    int32_t row;
    int32_t bank;
};

inline Place place(int32_t word) {
#pragma HLS INLINE
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
    int32_t pixels;      // of an output word
    int32_t tile_width;
    int32_t ahead;       // columns by which a lane moves from block to block, beyond whole rows
    Place stays;         // from its window to that in the next block, where it stays in the row that this gives
    Place wraps;         // and where it goes on in the next one
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
    int32_t pixels_left;
    // of each pixel lane: its column, its window, and the same of the first block
    int32_t x[PIXELS];
    Place base[PIXELS];
    int32_t first_x[PIXELS];
    Place first_base[PIXELS];
};

// Whether a lane has a pixel of this block.
inline bool has_pixel(const WindowWalk &walk, int p) {
#pragma HLS INLINE
    return p < walk.block_pixels && p < walk.pixels_left;
}

// The first block's windows, one after the other; afterwards every lane moves by itself.
inline void place_lanes(WindowWalk &walk, Place column, Place next_line) {
    int32_t x = 0;
    Place at = place(0);
    for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
        walk.first_x[p] = x;
        walk.first_base[p] = at;
        x = x == walk.tile_width - 1 ? 0 : x + 1;
        at = move(at, x == 0 ? next_line : column);
    }
}

// Back to the tile's first block of pixels.
inline void first_pixels(WindowWalk &walk) {
#pragma HLS INLINE
    walk.block = 0;
    walk.pixels_left = walk.pixels;
    for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
        walk.x[p] = walk.first_x[p];
        walk.base[p] = walk.first_base[p];
    }
}

// To the next block: a lane goes on by a number of pixels that is the same for all.
inline void next_pixels(WindowWalk &walk) {
#pragma HLS INLINE
    walk.block += 1;
    walk.pixels_left -= walk.block_pixels;
    for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
        const bool wraps = walk.x[p] >= walk.tile_width - walk.ahead;
        walk.x[p] += wraps ? walk.ahead - walk.tile_width : walk.ahead;
        walk.base[p] = move(walk.base[p], wraps ? walk.wraps : walk.stays);
    }
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
    const int32_t line = layer.down * tile.pitch;
    const int32_t block_rows = walk.block_pixels / tile.width;
    walk.ahead = walk.block_pixels - block_rows * tile.width;
    const int32_t stays = block_rows * line + walk.ahead * layer.across;
    walk.stays = place(stays);
    walk.wraps = place(stays + line - tile.width * layer.across);
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
    place_lanes(walk, place(layer.across), place(line - (tile.width - 1) * layer.across));
    first_pixels(walk);
    return walk;
}

// Cycles of a pass. Where sums become complete, the words of a block leave one a
// cycle, so that the next block ends no sooner than after so many.
inline int32_t cycles(const WindowWalk &walk, const Pass &pass) {
    const int32_t work = walk.parts * walk.steps;
    if (!pass.last) {
        return walk.outputs * walk.blocks * work;
    }
    const int32_t last = walk.pixels - (walk.blocks - 1) * walk.block_pixels;  // pixels of a word's last block
    const int32_t block = most(work, walk.block_pixels);
    const int32_t end = most(work, last);
    return walk.outputs * ((walk.blocks - 1) * block + end) - end + work - 1 + last;
}

// Whether this cycle is the last of a block of output pixels, and of an output word.
inline bool ends_block(const WindowWalk &walk) {
#pragma HLS INLINE
    return walk.step == walk.steps - 1 && walk.part == walk.parts - 1;
}

inline bool ends_output(const WindowWalk &walk) {
#pragma HLS INLINE
    return ends_block(walk) && walk.block == walk.blocks - 1;
}

// The words of all pixel lanes at the current position, zeros for lanes without
// a pixel: every bank is read once for each group of BANKS lanes.
inline void read_pixels(const WindowWalk &walk, const Word input[BANKS][BANK_ROWS], Word activations[PIXELS]) {
#pragma HLS INLINE
    for (int group = 0; group < READS; ++group) {
#pragma HLS UNROLL
        const int first = group * BANKS;
        const int lanes = PIXELS - first < BANKS ? PIXELS - first : BANKS;
        int32_t bank[BANKS];  // of each lane
#pragma HLS ARRAY_PARTITION variable=bank complete
        int32_t row[BANKS];   // of each bank
#pragma HLS ARRAY_PARTITION variable=row complete
        Word data[BANKS + 1];
#pragma HLS AGGREGATE variable=data
#pragma HLS ARRAY_PARTITION variable=data complete
        for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
            row[b] = 0;
        }
        for (int p = 0; p < lanes; ++p) {
#pragma HLS UNROLL
            const Place from = move(walk.base[first + p], walk.offset);
            bank[p] = has_pixel(walk, first + p) ? from.bank : BANKS;
            for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
                row[b] = bank[p] == b ? from.row : row[b];
            }
        }
        for (int b = 0; b < BANKS; ++b) {
#pragma HLS UNROLL
            data[b] = input[b][row[b]];
        }
        data[BANKS] = fill<int8_t, LANES>(0);
        for (int p = 0; p < lanes; ++p) {
#pragma HLS UNROLL
            activations[first + p] = data[bank[p]];
        }
    }
}

inline void advance(WindowWalk &walk) {
#pragma HLS INLINE
    if (walk.step == walk.steps - 1) {
        walk.step = 0;
        walk.kx = 0;
        walk.ky = 0;
        walk.word = 0;
        if (walk.part != walk.parts - 1) {
            walk.part += 1;
        } else if (walk.block != walk.blocks - 1) {
            walk.part = 0;
            next_pixels(walk);
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
