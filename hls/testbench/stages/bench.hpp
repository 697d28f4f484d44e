// What the stages' test benches share: items of generated data to streams and
// arrays, and the comparison of what a stage has written with what is expected.
//
// The data are those of a real layer (codegen/simulation/stage_benches.py records them),
// and have been compared with the golden model there.
#pragma once

#include <cstdint>
#include <cstdio>

#include "hls_stream.h"
#include "jobs.hpp"
#include "words.hpp"

namespace bench {

// Generated items: a row of mantissas for each word, of accumulators for each AccWord.
template <typename T>
struct Rows {
    const T (*rows)[sbfp::LANES];
    int count;
};

using Words = Rows<int8_t>;
using AccWords = Rows<int32_t>;

template <typename T>
sbfp::Lanes<T, sbfp::LANES> item(const Rows<T> &items, int index) {
    sbfp::Lanes<T, sbfp::LANES> word;
    for (int c = 0; c < sbfp::LANES; ++c) {
        word.lane[c] = items.rows[index][c];
    }
    return word;
}

template <typename T, typename Items>
void put(const Items &items, hls::stream<T> &stream) {
    for (int i = 0; i < items.count; ++i) {
        stream.write(item(items, i));
    }
}

template <typename T, typename Items>
void put(const Items &items, T *array) {
    for (int i = 0; i < items.count; ++i) {
        array[i] = item(items, i);
    }
}

// Counts and reports differences.
class Check {
  public:
    explicit Check(const char *stage) : stage_(stage) {}

    template <typename T, typename Items>
    void expect(const char *what, hls::stream<T> &stream, const Items &items) {
        for (int i = 0; i < items.count; ++i) {
            compare(what, i, stream.read(), items.rows[i]);
        }
    }

    template <typename T, typename Items>
    void expect(const char *what, const T *array, const Items &items) {
        for (int i = 0; i < items.count; ++i) {
            compare(what, i, array[i], items.rows[i]);
        }
    }

    // Exit status of the bench.
    int finish() const {
        std::printf("%s: %ld values, %ld mismatches\n", stage_, values_, mismatches_);
        return mismatches_ == 0 && values_ > 0 ? 0 : 1;
    }

  private:
    template <typename T, typename V>
    void compare(const char *what, int index, const T &got, const V *want) {
        for (int c = 0; c < sbfp::LANES; ++c) {
            values_ += 1;
            if (got.lane[c] != want[c]) {
                if (mismatches_ == 0) {
                    std::fprintf(stderr, "%s: %s, item %d, lane %d: expected %d, got %d\n", stage_, what, index, c,
                                 static_cast<int>(want[c]), static_cast<int>(got.lane[c]));
                }
                mismatches_ += 1;
            }
        }
    }

    const char *stage_;
    long values_ = 0;
    long mismatches_ = 0;
};

}  // namespace bench
