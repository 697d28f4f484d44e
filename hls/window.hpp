// Walks the windows of a tile: for every block of PIXELS output pixels, all
// input words and kernel positions, one a cycle, without multiplications.
#pragma once

#include "types.hpp"

namespace sbfp {

struct WindowWalk {
    // constants of the pass
    int32_t steps;        // cycles per block
    int32_t blocks;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t row_stride;   // words from a window to the one below
    int32_t col_stride;
    int32_t next_row;     // from the last kernel column to the next kernel row
    int32_t next_word;    // from the last kernel position to the next input word
    int32_t start;        // first input word of the pass
    int32_t tile_width;
    // position within the window
    int32_t step;
    int32_t kx;
    int32_t ky;
    int32_t word;
    int32_t offset;
    // position of each pixel lane
    int32_t block;
    int32_t pixels_left;
    int32_t x;
    int32_t column;  // word offset of the current column of windows
    int32_t line;    // word offset of the current row of windows
    int32_t base[PIXELS];
};

// Base addresses of the next PIXELS output pixels, counted across rows. Lanes
// beyond the tile's last pixel repeat it; their results are dropped.
inline void place_pixels(WindowWalk &walk) {
    for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
        walk.base[p] = walk.line + walk.column;
        if (walk.pixels_left > 1) {
            walk.pixels_left -= 1;
            if (walk.x == walk.tile_width - 1) {
                walk.x = 0;
                walk.column = 0;
                walk.line += walk.row_stride;
            } else {
                walk.x += 1;
                walk.column += walk.col_stride;
            }
        }
    }
}

inline WindowWalk start_walk(const Layer &layer, const Tile &tile, const Pass &pass) {
    WindowWalk walk;
    const int32_t plane = tile.in_height * tile.in_width;
    walk.steps = pass.words * layer.kernel_height * layer.kernel_width;
    walk.blocks = (tile.height * tile.width + PIXELS - 1) / PIXELS;
    walk.kernel_height = layer.kernel_height;
    walk.kernel_width = layer.kernel_width;
    walk.row_stride = layer.stride_height * tile.in_width;
    walk.col_stride = layer.stride_width;
    walk.next_row = tile.in_width - layer.kernel_width + 1;
    walk.next_word = plane - (layer.kernel_height - 1) * tile.in_width - layer.kernel_width + 1;
    walk.start = pass.tile_word * plane;
    walk.tile_width = tile.width;
    walk.step = 0;
    walk.kx = 0;
    walk.ky = 0;
    walk.word = 0;
    walk.offset = walk.start;
    walk.block = 0;
    walk.pixels_left = tile.height * tile.width;
    walk.x = 0;
    walk.column = 0;
    walk.line = 0;
    place_pixels(walk);
    return walk;
}

// Address in the tile buffer of the current position for pixel lane p.
inline int32_t address(const WindowWalk &walk, int p) { return walk.base[p] + walk.offset; }

inline void advance(WindowWalk &walk) {
    if (walk.step == walk.steps - 1) {
        walk.step = 0;
        walk.kx = 0;
        walk.ky = 0;
        walk.word = 0;
        walk.offset = walk.start;
        walk.block += 1;
        place_pixels(walk);
        return;
    }
    walk.step += 1;
    if (walk.kx != walk.kernel_width - 1) {
        walk.kx += 1;
        walk.offset += 1;
    } else if (walk.ky != walk.kernel_height - 1) {
        walk.kx = 0;
        walk.ky += 1;
        walk.offset += walk.next_row;
    } else {
        walk.kx = 0;
        walk.ky = 0;
        walk.word += 1;
        walk.offset += walk.next_word;
    }
}

}  // namespace sbfp
