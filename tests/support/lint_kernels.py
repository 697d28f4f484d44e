"""A good kernel, and ways to change it."""

from __future__ import annotations

GOOD = """
#include <cstdint>
#include "hls_stream.h"
#include "checks.hpp"

constexpr int LANES = 4;
constexpr int DEPTH = 64;

struct Word {
    int8_t lane[LANES];
};

inline int32_t twice(int32_t value) {
#pragma HLS INLINE
    return 2 * value;
}

static void load(const Word *memory, int32_t count, hls::stream<Word> &words) {
LOAD:
    for (int32_t i = 0; i < count; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=DEPTH
#pragma HLS PIPELINE II=1
        words.write(memory[i]);
    }
}

static void fill(int32_t count, Word table[DEPTH]) {
    for (int32_t i = 0; i < count; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=DEPTH
#pragma HLS PIPELINE II=1
        Word word;
#pragma HLS ARRAY_PARTITION variable=word.lane complete
        for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
            word.lane[c] = static_cast<int8_t>(twice(i));
        }
        table[i] = word;
    }
}

static void join(int32_t count, hls::stream<Word> &words, const Word table[DEPTH], hls::stream<Word> &sums) {
    static const int32_t OFFSET = 3;
    Word kept[DEPTH];
#pragma HLS AGGREGATE variable=kept
    sbfp::DependenceCheck<DEPTH> check("kept", 4);
    for (int32_t i = 0; i < count; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=DEPTH
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=kept type=inter false
        Word word = words.read();
        for (int c = 0; c < LANES; ++c) {
#pragma HLS UNROLL
            word.lane[c] = static_cast<int8_t>(word.lane[c] + table[i].lane[c] + OFFSET);
        }
        check.write(i, i);
        kept[i] = word;
        check.read(i, i);
        sums.write(kept[i]);
    }
}

static void store(int32_t count, hls::stream<Word> &sums, Word *memory) {
    for (int32_t i = 0; i < count; ++i) {
#pragma HLS LOOP_TRIPCOUNT min=1 max=DEPTH
#pragma HLS PIPELINE II=1
        memory[i] = sums.read();
    }
}

static void run(const Word *from, Word *to, int32_t count) {
#pragma HLS INLINE off
#pragma HLS DATAFLOW
    hls::stream<Word> words;
#pragma HLS STREAM variable=words depth=4
    hls::stream<Word> sums;
#pragma HLS STREAM variable=sums depth=DEPTH/2
    Word table[DEPTH];
#pragma HLS AGGREGATE variable=table
    load(from, count, words);
    fill(count, table);
    join(count, words, table, sums);
    store(count, sums, to);
}

extern "C" void top(const Word *from, Word *to, int32_t count) {
#pragma HLS INTERFACE mode=m_axi port=from bundle=gmem0 offset=slave depth=DEPTH latency=64
#pragma HLS INTERFACE mode=m_axi port=to bundle=gmem1 offset=slave depth=DEPTH latency=64
#pragma HLS INTERFACE mode=s_axilite port=from bundle=control
#pragma HLS INTERFACE mode=s_axilite port=to bundle=control
#pragma HLS INTERFACE mode=s_axilite port=count bundle=control
#pragma HLS INTERFACE mode=s_axilite port=return bundle=control
    run(from, to, count);
}
"""
CHECKS = """
#pragma once
namespace sbfp {
template <int SIZE>
class DependenceCheck {
  public:
    DependenceCheck(const char *, int) {}
    void write(int, int) {
#pragma HLS INLINE
    }
    void read(int, int) {
#pragma HLS INLINE
    }
};
}
"""
TWICE = "inline int32_t twice(int32_t value) {\n#pragma HLS INLINE\n    return 2 * value;\n}"
LOOP = "LOAD:\n    for (int32_t i = 0; i < count; ++i) {"
PIPELINED = "\n#pragma HLS LOOP_TRIPCOUNT min=1 max=DEPTH\n#pragma HLS PIPELINE II=1"
JOIN = "    join(count, words, table, sums);\n"


def twice(body: str, before: str = "") -> tuple[str, str]:
    head = "inline int32_t twice(int32_t value) {\n#pragma HLS INLINE"
    return TWICE, f"{before}\n{head}\n{body}\n    return 2 * value;\n}}"


def loop(head: str) -> tuple[str, str]:
    return (
        f"{LOOP}{PIPELINED}",
        f"LOAD:\n    int32_t n = count;\n    int32_t i = 0;\n    {head} {{{PIPELINED}\n        n = n - 1;\n        i += 1;",
    )


def in_a_namespace(old: str, new: str) -> tuple[str, str]:
    """A constant of a namespace that the top function, which stands outside, does not name in full."""
    start = GOOD.index('extern "C"')
    end = GOOD.index(old) + len(old)
    text = GOOD[start:end]
    return text, f"namespace sizes {{\nconstexpr int WORDS = 64;\n}}\n{text.replace(old, new)}"


def one_end(old: str, new: str) -> tuple[str, str]:
    """A stage whose read of a stream depends on what is switched on."""
    start, end = GOOD.index("static void join"), GOOD.index("static void store")
    text = GOOD[start:end]
    text = text.replace("    static const int32_t OFFSET = 3;", "    const bool has = HAS_WORDS && count > 0;")
    text = text.replace(old, new).replace("+ OFFSET", "+ has")
    switches = "constexpr bool HAS_WORDS = true;\nconstexpr bool HAS_NONE = false;\n"
    return GOOD[start:end], switches + text
