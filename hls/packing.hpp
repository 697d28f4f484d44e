// Mantissas in memory: every lane is a bit stream of its own, `bits` bits a
// mantissa, first pixel in the lowest bits; a beat of memory holds eight bits
// of each lane. At eight bits a beat is a word.
#pragma once

#include "hls_stream.h"
#include "words.hpp"

namespace sbfp {

// Bits of each lane that wait to be taken, or to be written.
struct LaneBits {
    uint16_t lane[LANES];
    int32_t held;
};

inline LaneBits no_bits() {
#pragma HLS INLINE
    LaneBits waiting;
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        waiting.lane[c] = 0;
    }
    waiting.held = 0;
    return waiting;
}

// Beats that hold `count` mantissas of a lane, when `skip` bits come before them.
inline int32_t beats(int32_t count, int32_t bits, int32_t skip) { return (skip + count * bits + 7) >> 3; }

// Read a beat behind the bits that wait.
inline void read_beat(LaneBits &waiting, hls::stream<Word> &source) {
#pragma HLS INLINE
    const Word beat = source.read();
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        const uint32_t fresh = static_cast<uint32_t>(static_cast<uint8_t>(beat.lane[c])) << waiting.held;
        waiting.lane[c] = static_cast<uint16_t>(waiting.lane[c] | fresh);
    }
    waiting.held += 8;
}

// The mantissas that lie behind `skip` waiting bits.
inline Word look_at(const LaneBits &waiting, int32_t skip, int32_t bits, int32_t is_unsigned) {
#pragma HLS INLINE
    Word word;
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        const int32_t code = (waiting.lane[c] >> skip) & ((1 << bits) - 1);
        const bool negative = !is_unsigned && (code >> (bits - 1)) != 0;
        word.lane[c] = static_cast<int8_t>(negative ? code - (1 << bits) : code);
    }
    return word;
}

inline void drop_bits(LaneBits &waiting, int32_t bits) {
#pragma HLS INLINE
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        waiting.lane[c] = static_cast<uint16_t>(waiting.lane[c] >> bits);
    }
    waiting.held -= bits;
}

// The next word; at most one beat is read for it.
inline Word take_word(LaneBits &waiting, int32_t bits, int32_t is_unsigned, hls::stream<Word> &source) {
#pragma HLS INLINE
    if (waiting.held < bits) {
        read_beat(waiting, source);
    }
    const Word word = look_at(waiting, 0, bits, is_unsigned);
    drop_bits(waiting, bits);
    return word;
}

struct TwoWords {
    Word first;
    Word second;
    int32_t count;  // of words that are there: 1 or 2
};

// The next two of `left` words, or as many of them as one more beat completes: so
// narrow mantissas, too, unpack at the rate of the memory. No more than 15 bits
// ever wait, since fewer than eight are left over.
inline TwoWords take_two(LaneBits &waiting, int32_t bits, int32_t left, hls::stream<Word> &source) {
#pragma HLS INLINE
    const int32_t wanted = left > 1 ? 2 * bits : bits;
    if (waiting.held < wanted) {
        read_beat(waiting, source);
    }
    TwoWords words;
    words.first = look_at(waiting, 0, bits, 0);
    words.second = look_at(waiting, bits, bits, 0);
    words.count = left > 1 && waiting.held >= wanted ? 2 : 1;
    drop_bits(waiting, words.count == 2 ? 2 * bits : bits);
    return words;
}

// Calls of take_two for 0 to 8 words of 0 to 8 bits, of which none has 0 or 1;
// after eight words nothing waits, and all repeats.
constexpr int8_t TAKES_OF_TWO[9][9] = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0},
    {0, 0, 0, 0, 0, 0, 0, 0, 0},
    {0, 1, 1, 2, 2, 3, 3, 4, 4},
    {0, 1, 1, 2, 2, 3, 3, 4, 4},
    {0, 1, 1, 2, 2, 3, 3, 4, 4},
    {0, 1, 2, 2, 3, 4, 4, 5, 5},
    {0, 1, 2, 3, 3, 4, 5, 6, 6},
    {0, 1, 2, 3, 4, 5, 6, 7, 7},
    {0, 1, 2, 3, 4, 5, 6, 7, 8},
};

inline int32_t takes_of_two(int32_t words, int32_t bits) {
#pragma HLS INLINE
    return (words >> 3) * TAKES_OF_TWO[bits][8] + TAKES_OF_TWO[bits][words & 7];
}

// Drop the bits of a beat that belong to mantissas before the first one wanted.
inline void skip_bits(LaneBits &waiting, int32_t skip, hls::stream<Word> &source) {
#pragma HLS INLINE
    if (skip > 0) {
        const Word beat = source.read();
        for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
            waiting.lane[c] = static_cast<uint16_t>(static_cast<uint8_t>(beat.lane[c]) >> skip);
        }
        waiting.held = 8 - skip;
    }
}

// Add a word; a full beat leaves.
inline void give_word(LaneBits &waiting, int32_t bits, Word word, hls::stream<Word> &target) {
#pragma HLS INLINE
    for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
        const uint32_t code = static_cast<uint32_t>(word.lane[c]) & ((1u << bits) - 1u);
        waiting.lane[c] = static_cast<uint16_t>(waiting.lane[c] | (code << waiting.held));
    }
    waiting.held += bits;
    if (waiting.held >= 8) {
        Word beat;
        for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
            beat.lane[c] = static_cast<int8_t>(waiting.lane[c] & 0xff);
            waiting.lane[c] = static_cast<uint16_t>(waiting.lane[c] >> 8);
        }
        waiting.held -= 8;
        target.write(beat);
    }
}

// The last, partly filled beat of a line.
inline void flush_bits(LaneBits &waiting, hls::stream<Word> &target) {
#pragma HLS INLINE
    if (waiting.held > 0) {
        Word beat;
        for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
            beat.lane[c] = static_cast<int8_t>(waiting.lane[c] & 0xff);
        }
        target.write(beat);
    }
}

}  // namespace sbfp
