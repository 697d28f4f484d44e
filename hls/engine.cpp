// The engine: one array of multipliers, reused layer after layer.
#include "engine.hpp"

#include "add.hpp"
#include "avg_pool.hpp"
#include "conv.hpp"
#include "depthwise.hpp"
#include "epilogue.hpp"
#include "fetch_tile.hpp"
#include "fused_pool.hpp"
#include "input_pool.hpp"
#include "load_shortcut.hpp"
#include "load_tile.hpp"
#include "max_pool.hpp"
#include "schedule.hpp"
#include "store.hpp"
#include "walk.hpp"

namespace sbfp {

static_assert(ENGINE_OPERATOR_MEMBERS == 6, "an operator without a stage");

// Stage: the sums of one pass, by the layer's operator. biases: those that the epilogue adds.
// A stage takes each of its memories and streams by name.
static void compute(const Layer &layer, const Tile &tile, const Pass &pass, const Word input[BANKS][BANK_ROWS],
                    const AccWord bias[GROUP_WORDS], const Word align[WEIGHT_STEPS],
                    const Word dense[DENSE_ROWS][FILTERS], const Word depthwise[DEPTHWISE_STEPS],
                    hls::stream<AccWord> &biases, hls::stream<AccWord> &sums) {
#pragma HLS INLINE off
    // partial sums outlive a pass, but never a tile
    static AccWord partial[TILE_BLOCKS][PIXELS];
#pragma HLS AGGREGATE variable=partial
#pragma HLS ARRAY_PARTITION variable=partial dim=2 complete
    // operators that the network does not have are not built
    if (pass.outputs > 0) {
        if (layer.op == CONV) {
            conv_pass(layer, tile, pass, input, bias, align, dense, partial, sums);
        } else if (HAS_DEPTHWISE && layer.op == DEPTHWISE) {
            depthwise_pass(layer, tile, pass, input, bias, depthwise, biases, sums);
        } else if (HAS_MAX_POOL && layer.op == MAX_POOL) {
            max_pool_pass(layer, tile, pass, input, sums);
        } else if (HAS_AVG_POOL && layer.op == AVG_POOL) {
            avg_pool_pass(layer, tile, pass, input, sums);
        } else if ((HAS_ADD && layer.op == ADD) || (HAS_MAXIMUM && layer.op == MAXIMUM)) {
            add_pass(layer, tile, pass, input, sums);
        }
    }
}

// One step: a pass is computed, rounded and stored, while the weights of the
// next pass and some lines of the next tile load. It ends when all of that is
// done, so that a step may read whatever the steps before it have stored.
// Every memory and port is a parameter, so that in the dataflow region each half
// of a double buffer has a name of its own.
static void step(const Layer &layer, const Tile &tile, const Pass &pass, const Layer &next_layer,
                 const Pass &following, const Layer &load_layer, const Tile &coming, const Slice &slice,
                 const Word input[BANKS][BANK_ROWS], const AccWord bias[GROUP_WORDS], const Word align[WEIGHT_STEPS],
                 const Word dense[DENSE_ROWS][FILTERS], const Word depthwise[DEPTHWISE_STEPS],
                 Word next_input[BANKS][BANK_ROWS], AccWord next_bias[GROUP_WORDS], Word next_align[WEIGHT_STEPS],
                 Word next_dense[DENSE_ROWS][FILTERS], Word next_depthwise[DEPTHWISE_STEPS], Word best[POOL_WORDS],
                 const Word *weights, const Word *fmap_in, const Word *fmap_shortcut, Word *fmap_out) {
#pragma HLS INLINE off
#pragma HLS DATAFLOW
    hls::stream<Word> tile_beats;
#pragma HLS STREAM variable=tile_beats depth=128
    hls::stream<Word> unpacked;
#pragma HLS STREAM variable=unpacked depth=4
    hls::stream<Word> columns;
#pragma HLS STREAM variable=columns depth=4
    hls::stream<Word> weight_beats;
#pragma HLS STREAM variable=weight_beats depth=128
    hls::stream<Word> shortcut_beats;
#pragma HLS STREAM variable=shortcut_beats depth=64
    // where a stage writes two streams, the one that it writes first has room for
    // what its pipeline may hold of the other
    hls::stream<AccWord> biases;
#pragma HLS STREAM variable=biases depth=8
    hls::stream<AccWord> sums;
#pragma HLS STREAM variable=sums depth=16
    hls::stream<Word> shortcut;
#pragma HLS STREAM variable=shortcut depth=4
    hls::stream<Word> results;
#pragma HLS STREAM variable=results depth=4
    hls::stream<Word> kept;
#pragma HLS STREAM variable=kept depth=16
    hls::stream<Word> pooled;
#pragma HLS STREAM variable=pooled depth=POOLED_QUEUE
    hls::stream<Word> packed;
#pragma HLS STREAM variable=packed depth=128
    fetch_tile(load_layer, coming, slice, fmap_in, tile_beats);
    unpack_tile(load_layer, coming, slice, tile_beats, unpacked);
    input_pool(load_layer, coming, slice, unpacked, columns);
    load_tile(load_layer, coming, slice, columns, next_input);
    fetch_weights(next_layer, following, weights, weight_beats);
    load_weights(next_layer, following, weight_beats, next_bias, next_align, next_dense, next_depthwise);
    fetch_shortcut(layer, tile, pass, fmap_shortcut, shortcut_beats);
    load_shortcut(layer, tile, pass, shortcut_beats, shortcut);
    compute(layer, tile, pass, input, bias, align, dense, depthwise, biases, sums);
    epilogue(layer, tile, pass, biases, sums, shortcut, results);
    fused_pool(layer, tile, pass, results, best, kept, pooled);
    pack(layer, tile, pass, kept, pooled, packed);
    store(layer, tile, pass, packed, fmap_out);
}

// Runs a step on the halves of the double buffers: compute reads half
// `input_half` of the input and `weight_half` of the weights; the others load.
// What the step computes and loads is passed one by one, as `step` takes it.
static void run_step(const Layer &layer, const Tile &tile, const Pass &pass, const Layer &next_layer,
                     const Pass &following, const Layer &load_layer, const Tile &coming, const Slice &slice,
                     bool input_half, bool weight_half, const Word *weights, const Word *fmap_in,
                     const Word *fmap_shortcut, Word *fmap_out) {
#pragma HLS INLINE off
#pragma HLS ALLOCATION function instances=step limit=1
    static Word input_0[BANKS][BANK_ROWS];
#pragma HLS AGGREGATE variable=input_0
#pragma HLS ARRAY_PARTITION variable=input_0 dim=1 complete
    static Word input_1[BANKS][BANK_ROWS];
#pragma HLS AGGREGATE variable=input_1
#pragma HLS ARRAY_PARTITION variable=input_1 dim=1 complete
    static AccWord bias_0[GROUP_WORDS];
#pragma HLS AGGREGATE variable=bias_0
    static AccWord bias_1[GROUP_WORDS];
#pragma HLS AGGREGATE variable=bias_1
    static Word align_0[WEIGHT_STEPS];
#pragma HLS AGGREGATE variable=align_0
    static Word align_1[WEIGHT_STEPS];
#pragma HLS AGGREGATE variable=align_1
    static Word dense_0[DENSE_ROWS][FILTERS];
#pragma HLS AGGREGATE variable=dense_0
#pragma HLS ARRAY_PARTITION variable=dense_0 dim=2 complete
    static Word dense_1[DENSE_ROWS][FILTERS];
#pragma HLS AGGREGATE variable=dense_1
#pragma HLS ARRAY_PARTITION variable=dense_1 dim=2 complete
    static Word depthwise_0[DEPTHWISE_STEPS];
#pragma HLS AGGREGATE variable=depthwise_0
    static Word depthwise_1[DEPTHWISE_STEPS];
#pragma HLS AGGREGATE variable=depthwise_1
    // of fused max pooling
    static Word best[POOL_WORDS];
#pragma HLS AGGREGATE variable=best
    if (!input_half && !weight_half) {
        step(layer, tile, pass, next_layer, following, load_layer, coming, slice, input_0, bias_0, align_0, dense_0,
             depthwise_0, input_1, bias_1, align_1, dense_1, depthwise_1, best, weights, fmap_in, fmap_shortcut,
             fmap_out);
    } else if (!input_half) {
        step(layer, tile, pass, next_layer, following, load_layer, coming, slice, input_0, bias_1, align_1, dense_1,
             depthwise_1, input_1, bias_0, align_0, dense_0, depthwise_0, best, weights, fmap_in, fmap_shortcut,
             fmap_out);
    } else if (!weight_half) {
        step(layer, tile, pass, next_layer, following, load_layer, coming, slice, input_1, bias_0, align_0, dense_0,
             depthwise_0, input_0, bias_1, align_1, dense_1, depthwise_1, best, weights, fmap_in, fmap_shortcut,
             fmap_out);
    } else {
        step(layer, tile, pass, next_layer, following, load_layer, coming, slice, input_1, bias_1, align_1, dense_1,
             depthwise_1, input_0, bias_0, align_0, dense_0, depthwise_0, best, weights, fmap_in, fmap_shortcut,
             fmap_out);
    }
}

// Layers [begin, end), one step after the other.
static void run_layers(uint32_t begin, uint32_t end, const Word *weights, const Word *fmap_in,
                       const Word *fmap_shortcut, Word *fmap_out, volatile uint32_t *progress) {
#pragma HLS INLINE off
#pragma HLS ALLOCATION function instances=run_step limit=1
    bool input_half = false;
    bool weight_half = false;
RUN_LAYERS:
    for (uint32_t index = begin; index < end; ++index) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
        *progress = index + 1;
        const bool first_layer = index == begin;
        const bool last_layer = index + 1 == end;
        const Layer layer = LAYERS[index];
        const Layer after = LAYERS[last_layer ? index : index + 1];
        Tile tile = first_tile(layer);
        Pass pass = first_pass(layer, tile);
        if (first_layer || layer.early_lines == 0) {
            // nothing can be computed before the first tile is there
            const Pass following = first_layer ? pass : no_pass();
            const Slice whole = slice_at(layer, tile, 0, units(layer, tile));
            run_step(layer, tile, no_pass(), layer, following, layer, tile, whole, !input_half, !weight_half, weights,
                     fmap_in, fmap_shortcut, fmap_out);
        }
        const int32_t count = tiles(layer);
    TILES:
        for (int32_t n = 0; n < count; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
            const bool last_tile = n == count - 1;
            const Layer load_layer = last_tile ? after : layer;
            const Tile coming = last_tile ? first_tile(after) : next_tile(layer, tile);
            const bool late = last_tile && (last_layer || after.early_lines == 0);
            const int32_t share = last_tile ? after.early_lines : layer.slice_lines;
            const int32_t begins = last_tile ? after.early_pass : 0;
            const int32_t to_load = late ? 0 : units(load_layer, coming);
            int32_t loaded = 0;
            const int32_t all = passes(layer, tile);
        PASSES:
            for (int32_t p = 0; p < all; ++p) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=256
                const bool last_pass = p == all - 1;
                const Layer next_layer = last_pass ? load_layer : layer;
                Pass following;
                if (!last_pass) {
                    following = next_pass(layer, tile, pass);
                } else if (last_tile && last_layer) {
                    following = no_pass();
                } else {
                    following = first_pass(load_layer, coming);
                }
                const int32_t left = to_load - loaded;
                const int32_t part = p < begins ? 0 : last_pass ? left : least(share, left);
                const Slice slice = slice_at(load_layer, coming, loaded, part);
                run_step(layer, tile, pass, next_layer, following, load_layer, coming, slice, input_half, weight_half,
                         weights, fmap_in, fmap_shortcut, fmap_out);
                loaded += part;
                weight_half = !weight_half;
                pass = following;
            }
            input_half = !input_half;
            tile = coming;
        }
    }
}

}  // namespace sbfp

extern "C" void sbfp_engine(const sbfp::Word *weights, const sbfp::Word *fmap_in, const sbfp::Word *fmap_shortcut,
                            sbfp::Word *fmap_out, uint32_t layer_begin, uint32_t layer_end, uint32_t *identity_low,
                            uint32_t *identity_high, volatile uint32_t *progress) {
#pragma HLS INTERFACE mode=m_axi port=weights bundle=gmem_weights offset=slave depth=sbfp::SIM_WEIGHT_WORDS latency=64 num_read_outstanding=16 max_read_burst_length=64
#pragma HLS INTERFACE mode=m_axi port=fmap_in bundle=gmem_in offset=slave depth=sbfp::SIM_FMAP_WORDS latency=64 num_read_outstanding=16 max_read_burst_length=64
#pragma HLS INTERFACE mode=m_axi port=fmap_shortcut bundle=gmem_shortcut offset=slave depth=sbfp::SIM_FMAP_WORDS latency=64 num_read_outstanding=16 max_read_burst_length=64
#pragma HLS INTERFACE mode=m_axi port=fmap_out bundle=gmem_out offset=slave depth=sbfp::SIM_FMAP_WORDS latency=64 num_write_outstanding=16 max_write_burst_length=64
#pragma HLS INTERFACE mode=s_axilite port=weights bundle=control
#pragma HLS INTERFACE mode=s_axilite port=fmap_in bundle=control
#pragma HLS INTERFACE mode=s_axilite port=fmap_shortcut bundle=control
#pragma HLS INTERFACE mode=s_axilite port=fmap_out bundle=control
#pragma HLS INTERFACE mode=s_axilite port=layer_begin bundle=control
#pragma HLS INTERFACE mode=s_axilite port=layer_end bundle=control
#pragma HLS INTERFACE mode=s_axilite port=identity_low bundle=control
#pragma HLS INTERFACE mode=s_axilite port=identity_high bundle=control
#pragma HLS INTERFACE mode=s_axilite port=progress bundle=control
#pragma HLS INTERFACE mode=s_axilite port=return bundle=control
    *identity_low = sbfp::IDENTITY_LOW;
    *identity_high = sbfp::IDENTITY_HIGH;
    const uint32_t end = layer_end < sbfp::NUM_LAYERS ? layer_end : sbfp::NUM_LAYERS;
    sbfp::run_layers(layer_begin, end, weights, fmap_in, fmap_shortcut, fmap_out, progress);
    *progress = 0;
}
