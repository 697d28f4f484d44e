// Mantissas in memory: every lane is a bit stream of its own, `bits` bits a
// mantissa, first pixel in the lowest bits; a beat of memory holds eight bits
// of each lane. At eight bits a beat is a word.
#pragma once

#include "bounded.hpp"
#include "hls_stream.h"
#include "words.hpp"

namespace sbfp {

constexpr int32_t BEAT_BITS = 8;
// fewer than eight are left over when a beat joins them
constexpr int32_t MOST_WAITING = 15;

// Bits of each lane that wait to be taken, or to be written.
struct LaneBits {
    int32_t held;
    Lanes<uint16_t, LANES> bits;
};

inline LaneBits no_bits() {
#pragma HLS INLINE
    LaneBits waiting;
    waiting.held = 0;
    waiting.bits = fill<uint16_t, LANES>(0);
    return waiting;
}

// The lowest `bits` bits of a mantissa, or of a beat, behind `held` bits that wait.
struct Behind {
    int32_t held;
    int32_t bits;
    uint16_t operator()(uint16_t waiting, int8_t value) const {
#pragma HLS INLINE
        const uint32_t code = static_cast<uint32_t>(value) & ((1u << bits) - 1u);
        return static_cast<uint16_t>(waiting | (code << held));
    }
};

inline void add_bits(LaneBits &waiting, int32_t bits, const Word &values) {
#pragma HLS INLINE
    waiting.bits = map<uint16_t>(Behind{waiting.held, bits}, waiting.bits, values);
    waiting.held = bounded<MOST_WAITING>(waiting.held + bits);
}

// The bits that lie behind `skip` waiting ones. sign: the sign's bit, 0 where mantissas have none.
struct Cut {
    int32_t skip;
    int32_t mask;
    int32_t sign;
    int8_t operator()(uint16_t waiting) const {
#pragma HLS INLINE
        const int32_t code = (waiting >> skip) & mask;
        return static_cast<int8_t>((code ^ sign) - sign);
    }
};

// The mantissas of `bits` bits, or the beat, that lie behind `skip` waiting bits.
inline Word look_at(const LaneBits &waiting, int32_t skip, int32_t bits, int32_t is_unsigned) {
#pragma HLS INLINE
    const Cut cut = {skip, (1 << bits) - 1, is_unsigned ? 0 : 1 << (bits - 1)};
    return map<int8_t>(cut, waiting.bits);
}

struct Drop {
    int32_t bits;
    uint16_t operator()(uint16_t waiting) const {
#pragma HLS INLINE
        return static_cast<uint16_t>(waiting >> bits);
    }
};

inline void drop_bits(LaneBits &waiting, int32_t bits) {
#pragma HLS INLINE
    waiting.bits = map<uint16_t>(Drop{bits}, waiting.bits);
    waiting.held = bounded<MOST_WAITING>(waiting.held - bits);
}

// The next word; at most one beat is read for it.
inline Word take_word(LaneBits &waiting, int32_t bits, int32_t is_unsigned, hls::stream<Word> &source) {
#pragma HLS INLINE
    if (waiting.held < bits) {
        add_bits(waiting, BEAT_BITS, source.read());
    }
    const Word word = look_at(waiting, 0, bits, is_unsigned);
    drop_bits(waiting, bits);
    return word;
}

struct TwoWords {
    int32_t count;  // of words that are there: 1 or 2
    Word first;
    Word second;
};

// The next two of `left` words, or as many of them as one more beat completes: so
// narrow mantissas, too, unpack at the rate of the memory. No more than 15 bits
// ever wait, since fewer than eight are left over.
inline TwoWords take_two(LaneBits &waiting, int32_t bits, int32_t left, hls::stream<Word> &source) {
#pragma HLS INLINE
    const int32_t wanted = left > 1 ? 2 * bits : bits;
    if (waiting.held < wanted) {
        add_bits(waiting, BEAT_BITS, source.read());
    }
    TwoWords words;
    words.first = look_at(waiting, 0, bits, 0);
    words.second = look_at(waiting, bits, bits, 0);
    words.count = left > 1 && waiting.held >= wanted ? 2 : 1;
    drop_bits(waiting, words.count == 2 ? 2 * bits : bits);
    return words;
}

// Write the lowest bits that wait as a beat.
inline void give_beat(const LaneBits &waiting, hls::stream<Word> &target) {
#pragma HLS INLINE
    target.write(look_at(waiting, 0, BEAT_BITS, 1));
}

}  // namespace sbfp
