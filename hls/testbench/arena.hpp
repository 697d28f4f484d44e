// Tensors in the arena of the feature maps, as the engine reads and writes them.
#pragma once

#include <cstdint>
#include <vector>

#include "config.hpp"
#include "tensors.hpp"
#include "words.hpp"

namespace {

std::size_t values(const StoredTensor &t) {
    return static_cast<std::size_t>(t.channels) * static_cast<std::size_t>(t.height) *
           static_cast<std::size_t>(t.width);
}

// Calls visit(channel, word address of its plane, lane) for every lane of the
// tensor's planes, in the arena that begins with word `first`; channel is -1 for lanes that hold none.
template <typename Visit>
void for_each_plane(const StoredTensor &t, int64_t first, Visit visit) {
    const int64_t plane = static_cast<int64_t>(t.height) * ((static_cast<int64_t>(t.width) * t.bits + 7) / 8);
    for (int s = 0; s < t.segments; ++s) {
        const Segment &segment = SEGMENTS[t.first_segment + s];
        const int channels = segment.stop - segment.start;
        const int lanes = (channels + sbfp::LANES - 1) / sbfp::LANES * sbfp::LANES;
        for (int c = 0; c < lanes; ++c) {
            const int64_t address = first + segment.address + c / sbfp::LANES * plane;
            visit(c < channels ? segment.start + c : -1, address, c % sbfp::LANES);
        }
    }
}

// A tensor's rows start in fresh words; each lane is a stream of `bits` bits per pixel.
int64_t line_words(const StoredTensor &t) { return (static_cast<int64_t>(t.width) * t.bits + 7) / 8; }

uint8_t &byte_at(std::vector<sbfp::Word> &arena, int64_t word, int lane) {
    return reinterpret_cast<uint8_t *>(arena[static_cast<std::size_t>(word)].lane)[lane];
}

// Code of pixel x of a row that starts at `line`.
int read_code(const StoredTensor &t, std::vector<sbfp::Word> &arena, int64_t line, int lane, int x) {
    const int bit = x * t.bits;
    int code = byte_at(arena, line + bit / 8, lane) >> (bit % 8);
    if (bit % 8 + t.bits > 8) {
        code |= byte_at(arena, line + bit / 8 + 1, lane) << (8 - bit % 8);
    }
    return code & ((1 << t.bits) - 1);
}

void write_code(const StoredTensor &t, std::vector<sbfp::Word> &arena, int64_t line, int lane, int x, int code) {
    for (int i = 0; i < t.bits; ++i) {
        const int bit = x * t.bits + i;
        byte_at(arena, line + bit / 8, lane) |= static_cast<uint8_t>(((code >> i) & 1) << (bit % 8));
    }
}

void pack(const StoredTensor &t, const uint8_t *mantissas, int64_t first, std::vector<sbfp::Word> &arena) {
    for_each_plane(t, first, [&](int channel, int64_t address, int lane) {
        for (int y = 0; y < t.height; ++y) {
            const int64_t line = address + y * line_words(t);
            for (int64_t word = line; word < line + line_words(t); ++word) {
                byte_at(arena, word, lane) = 0;
            }
            for (int x = 0; x < t.width && channel >= 0; ++x) {
                const int64_t at = (static_cast<int64_t>(channel) * t.height + y) * t.width + x;
                write_code(t, arena, line, lane, x, mantissas[at]);
            }
        }
    });
}

int as_mantissa(const StoredTensor &t, int code) {
    return t.is_signed && code >> (t.bits - 1) ? code - (1 << t.bits) : code;
}

}  // namespace
