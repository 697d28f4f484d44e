// Top function of the accelerator; see docs/architecture.md.
#pragma once

#include "words.hpp"

// Runs layers [layer_begin, layer_end) of the generated schedule. The layer behind the last one, alone, copies the maps
// that stay on chip to fmap_out, as many words as there are of that memory, and computes nothing.
//   weights       the packed weight image
//   fmap_in, fmap_shortcut, fmap_out
//                 the same feature-map arena, once for each direction of use
//   identity_low, identity_high
//                 identity of the generated kernel, always written; an empty
//                 range of layers touches no memory.
//   progress      index of the layer that is being computed + 1, and 0 while none
//                 is, so that whoever reads the register after a time-out sees
//                 where the engine stands. Volatile: it changes within a call,
//                 and only so does synthesis keep every write. Nothing else is.
extern "C" void sbfp_engine(const sbfp::Word *weights, const sbfp::Word *fmap_in, const sbfp::Word *fmap_shortcut,
                            sbfp::Word *fmap_out, uint32_t layer_begin, uint32_t layer_end, uint32_t *identity_low,
                            uint32_t *identity_high, volatile uint32_t *progress);
