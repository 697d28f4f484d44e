// Depthwise convolution: LANES channels x PIXELS pixels a cycle. The epilogue,
// which has one word a cycle to do, aligns the sums and adds the bias.
#pragma once

#include "finished.hpp"
#include "hls_stream.h"
#include "trace.hpp"
#include "walk.hpp"
#include "weights.hpp"
#include "window.hpp"

namespace sbfp {

// The sum of a channel's window, with one more product. The product is in logic, since the array takes nearly all DSPs.
struct DepthwiseSum {
    bool first;
    int32_t is_unsigned;
    int32_t operator()(int32_t sum, int8_t a, int8_t w) const {
#pragma HLS INLINE
        const int32_t product = static_cast<int32_t>(operand(a, is_unsigned)) * w;
#pragma HLS BIND_OP variable=product op=mul impl=fabric
        return narrow((first ? 0 : sum) + product, DEPTHWISE_BITS);
    }
};

inline void depthwise_pass(const Layer &layer, const Tile &tile, const Pass &pass, const Word input[BANKS][BANK_ROWS],
                           const AccWord bias[GROUP_WORDS], const Word depthwise[DEPTHWISE_STEPS],
                           hls::stream<AccWord> &biases, hls::stream<AccWord> &complete) {
#pragma HLS INLINE off
    WindowWalk walk = start_walk(layer, tile, pass, 1);
    AccBlock acc = zero_block<LANES>();
#pragma HLS ARRAY_PARTITION variable=acc.pixel complete dim=0
    int32_t first_weight = 0;  // of this output word
    Finished<PIXELS> finished = nothing_finished<PIXELS>();
#pragma HLS ARRAY_PARTITION variable=finished.pixel complete dim=0
    const int32_t total = cycles(walk, pass);
DEPTHWISE_CYCLES:
    for (int32_t n = 0; n < total; ++n) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=1048576
#pragma HLS PIPELINE II=1
        count(layer, COUNT_DEPTHWISE);
        if (!waits(walk, finished)) {
            Word activations[PIXELS];
#pragma HLS AGGREGATE variable=activations
#pragma HLS ARRAY_PARTITION variable=activations complete
            read_pixels(walk, input, activations);
            const Word w = depthwise[first_weight + walk.step];
            for (int p = 0; p < PIXELS; ++p) {
#pragma HLS UNROLL
                const DepthwiseSum sum = {walk.step == 0, layer.in_unsigned};
                update_pixel(sum, acc, p, activations[p], w);
            }
            if (walk.step == 0 && walk.block == 0) {
                biases.write(bias[walk.output]);
            }
            if (walk.step == walk.steps - 1) {
                finish(walk, acc, finished);
            }
            if (ends_output(walk)) {
                first_weight += walk.steps;
            }
            advance(walk);
        }
        give_sums<DEPTHWISE_BITS>(finished, complete);
    }
}

}  // namespace sbfp
