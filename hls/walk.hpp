// How a layer is walked through: tiles, slices of the lines that load, passes.
#pragma once

#include <cstdint>

#include "layer.hpp"

namespace sbfp {

static_assert(ENGINE_OPERATOR_MEMBERS == 6, "an operator of which it is not known whether it reads all input words");

// The part of a layer that is on chip at one time.
struct Tile {
    int32_t y;       // first output row
    int32_t x;       // first output column
    int32_t height;  // output rows
    int32_t width;   // output columns
    int32_t word;    // first channel word (zero for dense convolution)
    int32_t words;   // channel words of the input
    int32_t in_height;  // of the input buffer
    int32_t in_width;
    int32_t pitch;      // words from one input row to the next
    int32_t map_rows;   // of the input map, those that no window uses left out
    int32_t map_columns;
};

inline int32_t least(int32_t a, int32_t b) {
#pragma HLS INLINE
    return a < b ? a : b;
}

inline int32_t most(int32_t a, int32_t b) {
#pragma HLS INLINE
    return a > b ? a : b;
}

// Extents of the tile that starts at (y, x) and at a channel word.
inline Tile tile_at(const Layer &layer, int32_t y, int32_t x, int32_t word) {
    Tile tile;
    tile.y = y;
    tile.x = x;
    tile.word = word;
    tile.width = least(layer.tile_width, layer.out_width - x);
    tile.height = least(layer.tile_height, layer.out_height - y);
    tile.words = least(layer.tile_words, layer.in_words - word);
    tile.in_height = (tile.height - 1) * layer.down + layer.kernel_height;
    tile.in_width = (tile.width - 1) * layer.across + (layer.kernel_width - 1) * layer.taps + 1;
    tile.pitch = tile.width == layer.tile_width ? layer.pitch : layer.edge_pitch;
    if (layer.in_pool != UNPOOLED) {
        tile.map_rows = (tile.height - 1) * layer.stride_height + layer.in_pool_height;
        tile.map_columns = (tile.width - 1) * layer.stride_width + layer.in_pool_width;
    } else {
        tile.map_rows = tile.in_height;
        tile.map_columns = (tile.in_width - 1) * layer.col_step + layer.taps;
    }
    return tile;
}

inline int32_t tiles(const Layer &layer) { return layer.word_tiles * layer.tiles_down * layer.tiles_across; }

inline Tile first_tile(const Layer &layer) { return tile_at(layer, 0, 0, 0); }

// Tiles follow each other across, then down, then through the channel words.
inline Tile next_tile(const Layer &layer, const Tile &tile) {
    if (tile.x + tile.width < layer.out_width) {
        return tile_at(layer, tile.y, tile.x + tile.width, tile.word);
    }
    if (tile.y + tile.height < layer.out_height) {
        return tile_at(layer, tile.y + tile.height, 0, tile.word);
    }
    return tile_at(layer, 0, 0, tile.word + tile.words);
}

// Lines of the buffer that load with one pass, counted through the rows, then through the words.
struct Slice {
    int32_t line;       // the first one,
    int32_t word;       // in this word of the tile
    int32_t row;        // and this row
    int32_t lines;
    int32_t map_lines;  // of the map that they take
};

// A tile loads in units: its lines, or whole planes where the map is pooled as it loads.
inline int32_t units(const Layer &layer, const Tile &tile) {
    return layer.in_pool != UNPOOLED ? tile.words : tile.words * tile.in_height;
}

inline Slice slice_at(const Layer &layer, const Tile &tile, int32_t first, int32_t count) {
    Slice slice;
    if (layer.in_pool != UNPOOLED) {
        slice.word = first;
        slice.row = 0;
        slice.line = first * tile.in_height;
        slice.lines = count * tile.in_height;
        slice.map_lines = count * tile.map_rows;
    } else {
        slice.word = first / tile.in_height;
        slice.row = first - slice.word * tile.in_height;
        slice.line = first;
        slice.lines = count;
        slice.map_lines = count;
    }
    return slice;
}

// One pass computes some words of output channels over a tile, or, of one word,
// the share of a chunk of its weights.
struct Pass {
    int32_t out_word;    // first word of output channels, counted in the whole layer
    int32_t outputs;     // words of output channels; 0: nothing to do
    int32_t chunk;       // of the weights
    int32_t tile_word;   // where the input words of this pass start in the tile
    int32_t words;       // input words of each output word
    int32_t first;       // accumulators start from the bias
    int32_t last;        // accumulators are complete after this pass
};

// The pass that starts at an output word and a chunk.
inline Pass pass_at(const Layer &layer, const Tile &tile, int32_t out_word, int32_t chunk) {
    Pass pass;
    pass.out_word = out_word;
    pass.chunk = chunk;
    if (layer.op == CONV) {
        pass.outputs = least(layer.group_words, layer.out_words - out_word);
        pass.tile_word = chunk * layer.chunk_words;
        pass.words = least(layer.chunk_words, layer.in_words - pass.tile_word);
        pass.first = chunk == 0;
        pass.last = chunk == layer.chunks - 1;
    } else {
        pass.outputs = least(layer.group_words, tile.word + tile.words - out_word);
        pass.tile_word = out_word - tile.word;
        pass.words = 1;
        pass.first = 1;
        pass.last = 1;
    }
    return pass;
}

inline Pass first_pass(const Layer &layer, const Tile &tile) { return pass_at(layer, tile, tile.word, 0); }

inline Pass next_pass(const Layer &layer, const Tile &tile, const Pass &pass) {
    return pass.last ? pass_at(layer, tile, pass.out_word + pass.outputs, 0)
                     : pass_at(layer, tile, pass.out_word, pass.chunk + 1);
}

inline int32_t passes(const Layer &layer, const Tile &tile) {
    return tile.words == layer.tile_words ? layer.tile_passes : layer.edge_passes;
}

// Rows of the output words that a pass completes.
inline int32_t finished_rows(const Tile &tile, const Pass &pass) { return pass.last ? pass.outputs * tile.height : 0; }

// A pass that does nothing.
inline Pass no_pass() {
    Pass pass;
    pass.out_word = 0;
    pass.outputs = 0;
    pass.chunk = 0;
    pass.tile_word = 0;
    pass.words = 0;
    pass.first = 1;
    pass.last = 1;
    return pass;
}

}  // namespace sbfp
