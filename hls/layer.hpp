// What the engine knows of a layer: its row of the schedule.
#pragma once

#include <cstdint>

namespace sbfp {

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

}  // namespace sbfp
