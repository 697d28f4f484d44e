// Words that travel through memory and streams, and the description of a layer.
#pragma once

#include <cstdint>

#include "config.hpp"
#include "trace.hpp"

namespace sbfp {

static_assert(LANES >= 2 && (LANES & (LANES - 1)) == 0, "LANES must be a power of two");
static_assert(FILTERS >= 1 && LANES % FILTERS == 0, "FILTERS must divide LANES");
static_assert(PRODUCTS == 1 || (PRODUCTS == 2 && FILTERS % 2 == 0) ||
                  (PRODUCTS == 4 && FILTERS % 2 == 0 && PIXELS % 2 == 0),
              "packed products share two filters, and at four of them two pixels");
static_assert(LANES % CHAIN == 0, "CHAIN must divide LANES");
static_assert(INPUT_WORDS % BANKS == 0, "the input buffer has whole rows of banks");
static_assert(PIXELS <= BANKS * READS, "every pixel lane needs a port of a bank");

// A word of output channels is computed in so many parts, one after the other.
constexpr int PARTS = LANES / FILTERS;

// The mantissas of LANES consecutive channels of one pixel, a byte each; also
// one beat of memory, where they are packed (see packing.hpp).
struct Word {
    int8_t lane[LANES];
};

// One small constant per channel of a word: shifts.
struct TableRow {
    int8_t lane[LANES];
};

// One accumulator per channel of a word.
struct AccWord {
    int32_t lane[LANES];
};

// What one iteration of a compute stage can finish: PIXELS output pixels.
struct AccBlock {
    int32_t pixel[PIXELS][LANES];
};

inline AccBlock zero_block() {
#pragma HLS INLINE
    AccBlock block;
    for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
        for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
            block.pixel[p][c] = 0;
        }
    }
    return block;
}

inline Word fill_word(int32_t value) {
#pragma HLS INLINE
    Word word;
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        word.lane[c] = static_cast<int8_t>(value);
    }
    return word;
}

enum Operator : int32_t { CONV = 0, DEPTHWISE = 1, MAX_POOL = 2, AVG_POOL = 3, ADD = 4 };
enum Activation : int32_t { NONE = 0, RELU = 1, RELU6 = 2 };
enum InputPool : int32_t { UNPOOLED = 0, LARGEST = 1, MEAN = 2 };

// All constants of a layer. Addresses are in beats of LANES bytes; a plane is
// the map of one word of channels. Tables are indexed by rows of LANES entries.
// What needs no more has 16 bits: the schedule lies on chip.
struct Layer {
    Operator op;
    int16_t number;  // its place in the schedule, for the trace of the C simulation
    // input map
    int32_t in_address;
    int16_t in_words;
    int16_t in_height;
    int16_t in_width;
    int16_t in_line_beats;  // memory words of one row of a plane
    int16_t in_bits;
    int16_t in_unsigned;
    // pooling of that map as it loads; the window's stride and padding are the pool's then
    InputPool in_pool;
    int16_t in_pool_height;
    int16_t in_pool_width;
    int16_t in_pool_whole;  // one window over the whole map
    int16_t in_pool_low;
    int16_t in_pool_high;
    int16_t in_pool_row;
    // output map
    int16_t out_words;
    int16_t out_height;
    int16_t out_width;
    int16_t keeps_map;  // whether it is stored
    int32_t out_address;
    int16_t out_line_beats;
    int16_t out_bits;
    // what max pooling with stride 2 makes of it, where that is fused
    int16_t pool;
    int16_t pool_height;
    int16_t pool_width;
    int16_t pool_top;
    int16_t pool_left;
    int32_t pooled_address;
    int16_t pooled_line_beats;
    int16_t pooled_height;
    int16_t pooled_width;
    // shortcut map, of the output's shape
    int16_t has_shortcut;
    int32_t shortcut_address;
    int16_t shortcut_line_beats;
    int16_t shortcut_bits;
    int16_t shortcut_unsigned;
    // window
    int16_t kernel_height;
    int16_t kernel_width;
    int16_t stride_height;
    int16_t stride_width;
    int16_t pad_top;
    int16_t pad_left;
    int16_t pad_value;
    // tiles of the output, and input words held per tile
    int16_t tile_height;
    int16_t tile_width;
    int16_t tiles_down;
    int16_t tiles_across;
    int16_t tile_words;
    int16_t word_tiles;
    // while a tile is computed, the next one loads, so many lines with each pass;
    // the first one with the passes of the last tile of the layer before, from
    // `early_pass` on, since when nothing that it needs is written (lines 0: between
    // the layers); an input that is pooled as it loads comes in whole planes, which
    // these count then
    int32_t slice_lines;
    int32_t early_lines;
    int16_t early_pass;
    int16_t pitch;          // words from a tile row to the next, in the input buffer
    int16_t edge_pitch;     // the same for the last tile across, if that is narrower
    int16_t block_pixels;   // output pixels per block: PIXELS, or 1 where strides hit one bank
    // what the input buffer holds: rows and columns that no window uses are
    // left out; with few channels, a word holds several columns (taps) of them
    int16_t row_step;       // map rows per buffer row
    int16_t col_step;       // map columns per buffer column
    int16_t down;           // stride in buffer rows
    int16_t across;         // and in buffer columns
    int16_t taps;           // kernel columns per word
    int16_t tap_channels;   // channels of each
    // passes: words of output channels of one pass; if their weights do not fit
    // on chip, one word is computed in several passes, chunks of its input words
    int16_t group_words;
    int16_t chunk_words;
    int16_t chunks;
    int16_t tile_passes;  // of a tile
    int16_t edge_passes;  // of one with fewer words
    int32_t weight_address;
    int16_t weight_bits;
    int32_t word_beats;   // memory words per word of output channels
    int32_t chunk_beats;  // memory words of a full chunk
    int16_t has_align;
    // epilogue
    Activation activation;
    int16_t low;
    int16_t high;
    int16_t round_row;
    int16_t main_row;
    int16_t shortcut_row;
    int16_t clamp_row;
    // average pooling: bounds of what counts, and the reciprocal's table
    int16_t count_top;
    int16_t count_left;
    int16_t count_bottom;
    int16_t count_right;
    int16_t rows_min;
    int16_t cols_min;
    int16_t cols_span;
    int16_t reciprocal_row;
};

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

inline int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

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

// Left shift of a signed value; the bound proved for the layer keeps it inside 32 bits.
inline int32_t shift_left(int32_t value, int32_t by) {
    return static_cast<int32_t>(static_cast<uint32_t>(value) << by);
}

// Mantissa to operand: signed and unsigned tensors share the byte in memory.
inline int16_t operand(int8_t mantissa, int32_t is_unsigned) {
    return is_unsigned ? static_cast<int16_t>(static_cast<uint8_t>(mantissa)) : static_cast<int16_t>(mantissa);
}

// Lowest `bits` bits, sign-extended: values known to have no more, so that operators are no wider.
inline int32_t narrow(int32_t value, int bits) {
#pragma HLS INLINE
    return static_cast<int32_t>(static_cast<uint32_t>(value) << (32 - bits)) >> (32 - bits);
}

// Lane by lane, the larger mantissa.
inline Word largest(Word a, Word b, int32_t is_unsigned) {
#pragma HLS INLINE
    Word result;
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        result.lane[c] = operand(a.lane[c], is_unsigned) > operand(b.lane[c], is_unsigned) ? a.lane[c] : b.lane[c];
    }
    return result;
}

}  // namespace sbfp
