// The engine: one array of multipliers, reused layer after layer.
#include "engine.hpp"

#include "add.hpp"
#include "avg_pool.hpp"
#include "chip_maps.hpp"
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
#include "weights_ahead.hpp"

namespace sbfp {

static_assert(ENGINE_OPERATOR_MEMBERS == 9, "an operator without a stage");

// Stage: the sums of one pass, by the layer's operator. biases: those that the epilogue adds.
// A stage takes each of its memories and streams by name.
static void compute(const StepRow &where, const ComputeRow &job_row, const Word input[BANKS][BANK_ROWS],
                    const AccWord bias[GROUP_WORDS], const Word align[WEIGHT_STEPS],
                    const Word dense[DENSE_ROWS][FILTERS], const Word depthwise[DEPTHWISE_STEPS],
                    hls::stream<AccWord> &biases, hls::stream<AccWord> &sums) {
#pragma HLS INLINE off
    // partial sums outlive a pass, but never a tile
    static AccWord partial[TILE_BLOCKS][PIXELS];
#pragma HLS AGGREGATE variable=partial
#pragma HLS ARRAY_PARTITION variable=partial dim=2 complete
    // operators that the network does not have are not built
    const ComputeJob job = compute_job(job_row);
    if (job.outputs > 0) {
        if (job.op == CONV) {
            conv_pass(where, job_row, input, bias, align, dense, partial, sums);
        } else if ((HAS_DEPTHWISE && job.op == DEPTHWISE) || (HAS_INTERPOLATE && job.op == INTERPOLATE)) {
            depthwise_pass(where, job_row, input, bias, depthwise, biases, sums);
        } else if (HAS_MAX_POOL && job.op == MAX_POOL) {
            max_pool_pass(where, job_row, input, sums);
        } else if (HAS_AVG_POOL && job.op == AVG_POOL) {
            avg_pool_pass(where, job_row, input, sums);
        } else if ((HAS_ADD && job.op == ADD) || (HAS_MAXIMUM && job.op == MAXIMUM) ||
                   (HAS_MINIMUM && job.op == MINIMUM) || (HAS_MULTIPLY && job.op == MULTIPLY)) {
            add_pass(where, job_row, input, sums);
        }
    }
}

// One step: a pass is computed, rounded and stored, while the weights of the
// next pass, its shortcut where that is on chip, and some lines of the next tile load. It ends when all of that is
// done, so that a step may read whatever the steps before it have stored.
// Stores come last in the text, and what loads from memory before them: in C
// simulation a tile that loaded too early would miss what the step stores.
// Every memory and port is a parameter, so that in the dataflow region each half
// of a double buffer has a name of its own.
static void step(const StepRow &where, const LoadRow &load, const WeightsRow &weights, const QueueRow &queue,
                 const ComputeRow &pass, const Word input[BANKS][BANK_ROWS], const AccWord bias[GROUP_WORDS],
                 const Word align[WEIGHT_STEPS], const Word dense[DENSE_ROWS][FILTERS], const Word depthwise[DEPTHWISE_STEPS],
                 const Word joined[SHORTCUT_WORDS], Word next_input[BANKS][BANK_ROWS], AccWord next_bias[GROUP_WORDS],
                 Word next_align[WEIGHT_STEPS], Word next_dense[DENSE_ROWS][FILTERS],
                 Word next_depthwise[DEPTHWISE_STEPS], Word next_joined[SHORTCUT_WORDS], Word best[POOL_WORDS],
                 Word maps[CHIP_WORDS], Word ahead[WEIGHT_QUEUE], const Word *weight_memory, const Word *fmap_in,
                 const Word *fmap_shortcut, Word *fmap_out) {
#pragma HLS INLINE off
#pragma HLS DATAFLOW
// The jobs do not change while the step runs: no process waits for them.
#pragma HLS STABLE variable=where
#pragma HLS STABLE variable=load
#pragma HLS STABLE variable=weights
#pragma HLS STABLE variable=queue
#pragma HLS STABLE variable=pass
    hls::stream<Word> tile_beats;
#pragma HLS STREAM variable=tile_beats depth=128
    hls::stream<Word> unpacked;
#pragma HLS STREAM variable=unpacked depth=4
    hls::stream<Word> columns;
#pragma HLS STREAM variable=columns depth=4
    hls::stream<Word> weight_beats;
#pragma HLS STREAM variable=weight_beats depth=128
    hls::stream<Word> pushed_weights;
#pragma HLS STREAM variable=pushed_weights depth=128
    hls::stream<Word> popped_weights;
#pragma HLS STREAM variable=popped_weights depth=64
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
    hls::stream<Word> packed_on_chip;
#pragma HLS STREAM variable=packed_on_chip depth=64
    hls::stream<Word> tile_on_chip;
#pragma HLS STREAM variable=tile_on_chip depth=64
    fetch_weights(where, weights, queue, weight_memory, weight_beats, pushed_weights);
    queue_weights(weights, queue, pushed_weights, ahead, popped_weights);
    load_weights(weights, weight_beats, popped_weights, next_bias, next_align, next_dense, next_depthwise);
    fetch_shortcut(where, pass, fmap_shortcut, shortcut_beats);
    load_shortcut(pass, shortcut_beats, joined, shortcut);
    compute(where, pass, input, bias, align, dense, depthwise, biases, sums);
    epilogue(where, pass, biases, sums, shortcut, results);
    fused_pool(where, pass, results, best, kept, pooled);
    pack(where, pass, kept, pooled, packed, packed_on_chip);
    chip_maps(where, load, weights, pass, packed_on_chip, maps, tile_on_chip, next_joined);
    fetch_tile(load, fmap_in, tile_beats);
    unpack_tile(load, tile_beats, tile_on_chip, unpacked);
    input_pool(load, unpacked, columns);
    load_tile(load, columns, next_input);
    store(where, pass, packed, fmap_out);
}

// Runs a step on the halves of the double buffers: compute reads those that the
// step names; the others load. Every memory that outlives it is a parameter.
static void run_step(const StepRow &where, const LoadRow &load, const WeightsRow &weights, const QueueRow &queue,
                     const ComputeRow &pass, Word maps[CHIP_WORDS], const Word *weight_memory, const Word *fmap_in,
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
    // of shortcuts on chip
    static Word joined_0[SHORTCUT_WORDS];
#pragma HLS AGGREGATE variable=joined_0
    static Word joined_1[SHORTCUT_WORDS];
#pragma HLS AGGREGATE variable=joined_1
    // of fused max pooling
    static Word best[POOL_WORDS];
#pragma HLS AGGREGATE variable=best
    // of weights that are fetched ahead: what a run begins with goes into it in its first step
    static Word ahead[WEIGHT_QUEUE];
#pragma HLS AGGREGATE variable=ahead
#pragma HLS BIND_STORAGE variable=ahead type=ram_2p impl=bram
    const Step halves = step_of(where);
    if (!halves.input_half && !halves.weight_half) {
        step(where, load, weights, queue, pass, input_0, bias_0, align_0, dense_0, depthwise_0, joined_0,
             input_1, bias_1, align_1, dense_1, depthwise_1, joined_1, best, maps, ahead,
             weight_memory, fmap_in, fmap_shortcut, fmap_out);
    } else if (!halves.input_half) {
        step(where, load, weights, queue, pass, input_0, bias_1, align_1, dense_1, depthwise_1, joined_1,
             input_1, bias_0, align_0, dense_0, depthwise_0, joined_0, best, maps, ahead,
             weight_memory, fmap_in, fmap_shortcut, fmap_out);
    } else if (!halves.weight_half) {
        step(where, load, weights, queue, pass, input_1, bias_0, align_0, dense_0, depthwise_0, joined_0,
             input_0, bias_1, align_1, dense_1, depthwise_1, joined_1, best, maps, ahead,
             weight_memory, fmap_in, fmap_shortcut, fmap_out);
    } else {
        step(where, load, weights, queue, pass, input_1, bias_1, align_1, dense_1, depthwise_1, joined_1,
             input_0, bias_0, align_0, dense_0, depthwise_0, joined_0, best, maps, ahead,
             weight_memory, fmap_in, fmap_shortcut, fmap_out);
    }
}

// Layers [begin, end), step after step. A layer's first step loads what nothing
// before it has loaded; what would load for a layer that is not run is left out.
static void run_layers(uint32_t begin, uint32_t end, Word maps[CHIP_WORDS], const Word *weight_memory,
                       const Word *fmap_in, const Word *fmap_shortcut, Word *fmap_out, volatile uint32_t *progress) {
#pragma HLS INLINE off
    const int32_t first = FIRST_STEP[begin];
    const int32_t last_layer = FIRST_STEP[end - 1];
    const int32_t stop = FIRST_STEP[end];
RUN_STEPS:
    for (int32_t n = first; n < stop; n = bounded<NUM_STEPS>(n + 1)) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=1024
        const StepRow where = STEPS[n];
        const Step now = step_of(where);
        const bool loads = !(now.load_ahead && n >= last_layer);
        const bool weighs = !(now.weights_ahead && n >= last_layer) && !(now.enters && n != first);
        const LoadRow load = LOADS[loads ? now.load : 0];
        const WeightsRow weights = WEIGHTS[weighs ? now.weights : 0];
        const QueueRow queue = QUEUES[weighs ? now.queue : 0];
        const ComputeRow pass = COMPUTES[now.compute];
        if (!now.enters || now.waits || n == first) {
            *progress = static_cast<uint32_t>(now.layer) + 1;
            begin_step(now.layer + now.load_ahead, now.layer + now.weights_ahead, now.layer);
            begin_map(now.layer);
            begin_queue_step(n);
            run_step(where, load, weights, queue, pass, maps, weight_memory, fmap_in, fmap_shortcut, fmap_out);
        }
    }
    *progress = 0;
}

// All of on-chip memory to external memory, for who runs layer after layer and wants to see what stays there.
static void copy_maps(const Word maps[CHIP_WORDS], Word *memory) {
#pragma HLS INLINE off
    if (HAS_CHIP_MAPS) {
    COPY_WORDS:
        for (int32_t n = 0; n < CHIP_WORDS; ++n) {
#pragma HLS PIPELINE II=1
            memory[n] = maps[n];
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
    // that stay on chip between layers: they outlive a call, so that the next layers may run in another one
    static sbfp::Word maps[sbfp::CHIP_WORDS];
#pragma HLS AGGREGATE variable=maps
#pragma HLS BIND_STORAGE variable=maps type=ram_2p impl=bram
    const uint32_t end = layer_end < sbfp::NUM_LAYERS ? layer_end : sbfp::NUM_LAYERS;
    if (layer_begin < end) {
        sbfp::begin_maps(fmap_out);
        sbfp::begin_queue();
        sbfp::run_layers(layer_begin, end, maps, weights, fmap_in, fmap_shortcut, fmap_out, progress);
    } else if (layer_begin == sbfp::NUM_LAYERS && layer_end > sbfp::NUM_LAYERS) {
        sbfp::copy_maps(maps, fmap_out);
    }
    *progress = 0;
}
