// Asserts in C simulation what a DEPENDENCE pragma claims. Synthesis takes the
// empty version in hls/synth: only the include path differs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace sbfp {

// Claim that holds for every later iteration of the loop.
constexpr int32_t WHOLE_LOOP = INT32_MAX;

constexpr int32_t NEVER_WRITTEN = -1;

// One per loop and array. `DEPENDENCE variable=x type=inter false` claims that
// no iteration reads or writes an element of x that an iteration less than
// `distance` before it has written: the pipeline may hold that write still. A
// write after a read needs no claim where the value written depends on the value read.
template <int32_t SIZE>
class DependenceCheck {
  public:
    DependenceCheck(const char *array, int32_t distance) : array_(array), distance_(distance) {}

    void read(int32_t iteration, int32_t element) { check(iteration, element, "reads"); }

    void write(int32_t iteration, int32_t element) {
        check(iteration, element, "writes");
        written_[static_cast<std::size_t>(element)] = iteration;
    }

  private:
    void check(int32_t iteration, int32_t element, const char *does) {
        if (element < 0 || element >= SIZE) {
            std::fprintf(stderr, "%s: iteration %d %s element %d of %d\n", array_, iteration, does, element, SIZE);
            std::abort();
        }
        // most loops never come here, so that they need not pay for the table
        if (written_.empty()) {
            written_.assign(static_cast<std::size_t>(SIZE), NEVER_WRITTEN);
        }
        const int32_t before = written_[static_cast<std::size_t>(element)];
        if (before != NEVER_WRITTEN && before != iteration && iteration - before < distance_) {
            std::fprintf(stderr,
                         "%s: iteration %d %s element %d, which iteration %d has written, closer than the claim of "
                         "its DEPENDENCE pragma\n",
                         array_, iteration, does, element, before);
            std::abort();
        }
    }

    const char *array_;
    int32_t distance_;
    std::vector<int32_t> written_;
};

}  // namespace sbfp
