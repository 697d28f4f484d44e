// The engine: one array of multipliers, reused layer after layer.
#include "engine.hpp"

#include "add.hpp"
#include "avg_pool.hpp"
#include "conv.hpp"
#include "depthwise.hpp"
#include "epilogue.hpp"
#include "load_shortcut.hpp"
#include "load_tile.hpp"
#include "max_pool.hpp"
#include "schedule.hpp"
#include "store.hpp"

namespace sbfp {

// Stage: the sums of one pass, by the layer's operator.
static void compute(const Layer &layer, const Tile &tile, int32_t index, const Word input[BANKS][BANK_ROWS],
                    hls::stream<AccWord> &biases, const Word align[WEIGHT_STEPS],
                    const Word dense[DENSE_ROWS][FILTERS], const Word depthwise[WEIGHT_STEPS],
                    hls::stream<AccBlock> &sums) {
#pragma HLS INLINE off
    // partial sums outlive a pass, but never a tile
    static AccBlock partial[TILE_BLOCKS];
#pragma HLS AGGREGATE variable=partial
    const Pass pass = make_pass(layer, tile, index);
    switch (layer.op) {
        case CONV:
            conv_pass(layer, tile, pass, input, biases.read(), align, dense, partial, sums);
            break;
        case DEPTHWISE:
            depthwise_pass(layer, tile, pass, input, biases.read(), depthwise, sums);
            break;
        case MAX_POOL:
            max_pool_pass(layer, tile, pass, input, sums);
            break;
        case AVG_POOL:
            avg_pool_pass(layer, tile, pass, input, sums);
            break;
        case ADD:
            add_pass(layer, tile, pass, input, sums);
            break;
    }
}

// All passes over one tile. Weights of the next pass load while this one
// computes; its results are rounded and stored as they come.
static void process_tile(const Layer &layer, int32_t tile_index, const Word input[BANKS][BANK_ROWS], const Word *weights,
                         const Word *fmap_shortcut, Word *fmap_out) {
#pragma HLS INLINE off
    const Tile tile = make_tile(layer, tile_index);
    const int32_t count = passes(layer, tile);
PASSES:
    for (int32_t pass = 0; pass < count; ++pass) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
#pragma HLS DATAFLOW
        Word align[WEIGHT_STEPS];
#pragma HLS AGGREGATE variable=align
        Word dense[DENSE_ROWS][FILTERS];
#pragma HLS AGGREGATE variable=dense
#pragma HLS ARRAY_PARTITION variable=dense dim=2 complete
        Word depthwise[WEIGHT_STEPS];
#pragma HLS AGGREGATE variable=depthwise
        hls::stream<AccWord> biases;
#pragma HLS STREAM variable=biases depth=2
        hls::stream<Word> weight_beats;
#pragma HLS STREAM variable=weight_beats depth=128
        hls::stream<Word> shortcut_beats;
#pragma HLS STREAM variable=shortcut_beats depth=64
        hls::stream<AccBlock> sums;
#pragma HLS STREAM variable=sums depth=4
        hls::stream<Word> shortcut;
#pragma HLS STREAM variable=shortcut depth=4
        hls::stream<Word> results;
#pragma HLS STREAM variable=results depth=4
        hls::stream<Word> packed;
#pragma HLS STREAM variable=packed depth=128
        fetch_weights(layer, tile, pass, weights, weight_beats);
        load_weights(layer, tile, pass, weight_beats, biases, align, dense, depthwise);
        fetch_shortcut(layer, tile, pass, fmap_shortcut, shortcut_beats);
        load_shortcut(layer, tile, pass, shortcut_beats, shortcut);
        compute(layer, tile, pass, input, biases, align, dense, depthwise, sums);
        epilogue(layer, tile, pass, sums, shortcut, results);
        pack(layer, tile, pass, results, packed);
        store(layer, tile, pass, packed, fmap_out);
    }
}

// All tiles of one layer. The next tile loads while this one is processed.
static void run_layer(const Layer &layer, const Word *weights, const Word *fmap_in, const Word *fmap_shortcut,
                      Word *fmap_out) {
#pragma HLS INLINE off
    const int32_t count = layer.word_tiles * layer.tiles_down * layer.tiles_across;
TILES:
    for (int32_t tile = 0; tile < count; ++tile) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
#pragma HLS DATAFLOW
        Word input[BANKS][BANK_ROWS];
#pragma HLS AGGREGATE variable=input
#pragma HLS ARRAY_PARTITION variable=input dim=1 complete
        hls::stream<Word> tile_beats;
#pragma HLS STREAM variable=tile_beats depth=128
        fetch_tile(layer, tile, fmap_in, tile_beats);
        load_tile(layer, tile, tile_beats, input);
        process_tile(layer, tile, input, weights, fmap_shortcut, fmap_out);
    }
}

}  // namespace sbfp

extern "C" void sbfp_engine(const sbfp::Word *weights, const sbfp::Word *fmap_in, const sbfp::Word *fmap_shortcut,
                            sbfp::Word *fmap_out, uint32_t layer_begin, uint32_t layer_end, uint32_t *identity_low,
                            uint32_t *identity_high) {
#pragma HLS INTERFACE mode=m_axi port=weights bundle=gmem_weights offset=slave depth=SIM_WEIGHT_WORDS latency=64 num_read_outstanding=16 max_read_burst_length=64
#pragma HLS INTERFACE mode=m_axi port=fmap_in bundle=gmem_in offset=slave depth=SIM_FMAP_WORDS latency=64 num_read_outstanding=16 max_read_burst_length=64
#pragma HLS INTERFACE mode=m_axi port=fmap_shortcut bundle=gmem_shortcut offset=slave depth=SIM_FMAP_WORDS latency=64 num_read_outstanding=16 max_read_burst_length=64
#pragma HLS INTERFACE mode=m_axi port=fmap_out bundle=gmem_out offset=slave depth=SIM_FMAP_WORDS latency=64 num_write_outstanding=16 max_write_burst_length=64
#pragma HLS INTERFACE mode=s_axilite port=weights bundle=control
#pragma HLS INTERFACE mode=s_axilite port=fmap_in bundle=control
#pragma HLS INTERFACE mode=s_axilite port=fmap_shortcut bundle=control
#pragma HLS INTERFACE mode=s_axilite port=fmap_out bundle=control
#pragma HLS INTERFACE mode=s_axilite port=layer_begin bundle=control
#pragma HLS INTERFACE mode=s_axilite port=layer_end bundle=control
#pragma HLS INTERFACE mode=s_axilite port=identity_low bundle=control
#pragma HLS INTERFACE mode=s_axilite port=identity_high bundle=control
#pragma HLS INTERFACE mode=s_axilite port=return bundle=control
    *identity_low = sbfp::IDENTITY_LOW;
    *identity_high = sbfp::IDENTITY_HIGH;
    const uint32_t end = layer_end < sbfp::NUM_LAYERS ? layer_end : sbfp::NUM_LAYERS;
LAYERS:
    for (uint32_t index = layer_begin; index < end; ++index) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
        sbfp::trace_layer(index);
        const sbfp::Layer layer = sbfp::LAYERS[index];
        sbfp::run_layer(layer, weights, fmap_in, fmap_shortcut, fmap_out);
    }
}
