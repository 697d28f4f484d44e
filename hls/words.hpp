// Words: values side by side in lanes, and what is done to all lanes at once.
#pragma once

#include <cstdint>

#include "config.hpp"

namespace sbfp {

static_assert(LANES >= 2 && (LANES & (LANES - 1)) == 0, "LANES must be a power of two");
static_assert(FILTERS >= 1 && LANES % FILTERS == 0, "FILTERS must divide LANES");
static_assert(PIXELS <= BANKS * READS, "every pixel lane needs a port of a bank");

// A word of output channels is computed in so many parts, one after the other.
constexpr int PARTS = LANES / FILTERS;

// Bits of the number of a lane, in two words at most.
constexpr int LANE_BITS = 8;
static_assert(2 * LANES <= 1 << LANE_BITS, "more lanes than their numbers tell apart");

// N values, one in each lane; hardware works on all lanes in the same cycle.
template <typename T, int N>
struct Lanes {
    T lane[N];
};

// The same value in every lane.
template <typename T, int N>
inline Lanes<T, N> fill(T value) {
#pragma HLS INLINE
    Lanes<T, N> result;
    for (int i = 0; i < N; ++i) {
#pragma HLS UNROLL
        result.lane[i] = value;
    }
    return result;
}

// f(a, b, ...) in every lane, as R. f is a struct with a call operator; its members are what all lanes share.
template <typename R, typename F, int N, typename... T>
inline Lanes<R, N> map(F f, const Lanes<T, N> &...a) {
#pragma HLS INLINE
    Lanes<R, N> result;
    for (int i = 0; i < N; ++i) {
#pragma HLS UNROLL
        result.lane[i] = static_cast<R>(f(a.lane[i]...));
    }
    return result;
}

// The first one of two words, or the second, lane by lane: `first ? a : b` would choose between their addresses, and
// neither of them could be registers.
struct Choose {
    bool first;
    int32_t operator()(int32_t a, int32_t b) const {
#pragma HLS INLINE
        return first ? a : b;
    }
};

// Lane `by` becomes the first one, and so on; the last `by` lanes are of no use. Lanes
// move by powers of two, since an index that is known only when it runs would make a
// memory of them, with two ports. by: less than N.
template <typename T, int N>
inline Lanes<T, N> moved_down(const Lanes<T, N> &a, int32_t by) {
#pragma HLS INLINE
    Lanes<T, N> result = a;
    for (int bit = 0; bit < LANE_BITS; ++bit) {
#pragma HLS UNROLL
        const int step = 1 << bit;
        for (int i = 0; i < N; ++i) {
#pragma HLS UNROLL
            const T moved = result.lane[i + step < N ? i + step : i];
            const T stays = result.lane[i];
            result.lane[i] = (by & step) != 0 ? moved : stays;
        }
    }
    return result;
}

// And the other way: the first lane becomes lane `by`.
template <typename T, int N>
inline Lanes<T, N> moved_up(const Lanes<T, N> &a, int32_t by) {
#pragma HLS INLINE
    Lanes<T, N> result = a;
    for (int bit = 0; bit < LANE_BITS; ++bit) {
#pragma HLS UNROLL
        const int step = 1 << bit;
        for (int i = N - 1; i >= 0; --i) {
#pragma HLS UNROLL
            const T moved = result.lane[i >= step ? i - step : i];
            const T stays = result.lane[i];
            result.lane[i] = (by & step) != 0 ? moved : stays;
        }
    }
    return result;
}

// N of the lanes, from lane `first` on.
template <int N, typename T, int M>
inline Lanes<T, N> lanes_from(const Lanes<T, M> &a, int32_t first) {
#pragma HLS INLINE
    const Lanes<T, M> moved = moved_down(a, first);
    Lanes<T, N> result;
    for (int i = 0; i < N; ++i) {
#pragma HLS UNROLL
        result.lane[i] = moved.lane[i];
    }
    return result;
}

// The lanes of a, then those of b.
template <typename T, int N>
inline Lanes<T, 2 * N> join(const Lanes<T, N> &a, const Lanes<T, N> &b) {
#pragma HLS INLINE
    Lanes<T, 2 * N> result;
    for (int i = 0; i < N; ++i) {
#pragma HLS UNROLL
        result.lane[i] = a.lane[i];
        result.lane[N + i] = b.lane[i];
    }
    return result;
}

// The mantissas of LANES consecutive channels of one pixel, a byte each; also
// one beat of memory, where they are packed (see packing.hpp).
using Word = Lanes<int8_t, LANES>;

// One small constant per channel of a word: shifts.
using TableRow = Lanes<int8_t, LANES>;

// One accumulator per channel of a word.
using AccWord = Lanes<int32_t, LANES>;

// The widest word that the compiler makes of a struct in a memory or a channel; no other is wider than an AccWord.
constexpr int WIDEST_WORD = 4096;
static_assert(LANES * 32 <= WIDEST_WORD, "a word of accumulators is wider than a memory or a channel may be");

// Sums of P output pixels, N lanes each: registers of a compute stage. In memories and channels the words of its
// pixels are apart (see finished.hpp).
template <int N, int P = PIXELS>
struct Block {
    int32_t pixel[P][N];
};

// What one iteration of a compute stage can finish.
using AccBlock = Block<LANES>;

template <int N, int P = PIXELS>
inline Block<N, P> zero_block() {
#pragma HLS INLINE
    Block<N, P> block;
    for (int p = 0; p < P; ++p) {
#pragma HLS UNROLL
        for (int i = 0; i < N; ++i) {
#pragma HLS UNROLL
            block.pixel[p][i] = 0;
        }
    }
    return block;
}

// The lanes of pixel p.
template <int N>
inline Lanes<int32_t, N> pixel(const Block<N> &block, int32_t p) {
#pragma HLS INLINE
    Lanes<int32_t, N> result;
    for (int i = 0; i < N; ++i) {
#pragma HLS UNROLL
        result.lane[i] = block.pixel[p][i];
    }
    return result;
}

// Lanes of pixel p, from lane `first` on.
template <int N, int M>
inline void set_pixel(Block<M> &block, int32_t p, const Lanes<int32_t, N> &lanes, int32_t first = 0) {
#pragma HLS INLINE
    for (int i = 0; i < N; ++i) {
#pragma HLS UNROLL
        block.pixel[p][first + i] = lanes.lane[i];
    }
}

// f(sum, a, b, ...) in every lane of pixel p is its new sum.
template <typename F, int N, int P, typename... T>
inline void update_pixel(F f, Block<N, P> &block, int32_t p, const Lanes<T, N> &...a) {
#pragma HLS INLINE
    for (int i = 0; i < N; ++i) {
#pragma HLS UNROLL
        block.pixel[p][i] = f(block.pixel[p][i], a.lane[i]...);
    }
}

// Left shift of a signed value; the bound proved for the layer keeps it inside 32 bits.
inline int32_t shift_left(int32_t value, int32_t by) {
#pragma HLS INLINE
    return static_cast<int32_t>(static_cast<uint32_t>(value) << by);
}

// Mantissa to operand: signed and unsigned tensors share the byte in memory.
inline int16_t operand(int8_t mantissa, int32_t is_unsigned) {
#pragma HLS INLINE
    return is_unsigned ? static_cast<int16_t>(static_cast<uint8_t>(mantissa)) : static_cast<int16_t>(mantissa);
}

// Lowest `bits` bits, sign-extended: values known to have no more, so that operators are no wider.
inline int32_t narrow(int32_t value, int bits) {
#pragma HLS INLINE
    return static_cast<int32_t>(static_cast<uint32_t>(value) << (32 - bits)) >> (32 - bits);
}

struct Operand {
    int32_t is_unsigned;
    int16_t operator()(int8_t mantissa) const {
#pragma HLS INLINE
        return operand(mantissa, is_unsigned);
    }
};

// As it is. A word that goes one of two ways is taken lane by lane, since a copy of the whole would lie in a memory.
struct SameMantissa {
    int8_t operator()(int8_t mantissa) const {
#pragma HLS INLINE
        return mantissa;
    }
};

struct LargerMantissa {
    int32_t is_unsigned;
    int8_t operator()(int8_t a, int8_t b) const {
#pragma HLS INLINE
        return operand(a, is_unsigned) > operand(b, is_unsigned) ? a : b;
    }
};

}  // namespace sbfp
