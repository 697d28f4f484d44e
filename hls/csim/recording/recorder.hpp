// Writes what a stage's call gets and leaves to a file: every argument before
// and after the call, as codegen/simulation/stage_recording.py asks for in a copy of the
// engine, and reads it again.
//
// The file: per call "call STAGE STEP\n", then per argument, first all of them
// before the call and then all of them after it, "NAME BYTES\n" and the bytes;
// "end\n" after the last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <tuple>

#include "hls_stream.h"

namespace csim {

class Call {
  public:
    // Only the first calls of a stage are recorded for the layers that a step
    // loads and computes, to the file that the compiler's flag -DSBFP_RECORDING names.
    Call(const char *stage, int64_t step, const int32_t (&layers)[4]) {
        static std::map<std::tuple<std::string, int32_t, int32_t, int32_t>, int> calls;
        if (file() && calls[{stage, layers[0], layers[1], layers[2]}]++ < MOST_CALLS) {
            active_ = true;
            std::fprintf(file(), "call %s %lld\n", stage, static_cast<long long>(step));
        }
    }
    Call(const Call &) = delete;
    Call &operator=(const Call &) = delete;

    ~Call() {
        if (active_) {
            std::fprintf(file(), "end\n");
        }
    }

    template <typename T>
    void array(const char *name, const T *items, std::size_t count) {
        if (active_) {
            std::fprintf(file(), "%s %zu\n", name, count * sizeof(T));
            std::fwrite(items, sizeof(T), count, file());
        }
    }

    template <typename T>
    void value(const char *name, const T &item) {
        array(name, &item, 1);
    }

    template <typename T>
    void stream(const char *name, const hls::stream<T> &items) {
        array(name, items.waiting(), items.waiting_count());
    }

  private:
    static constexpr int MOST_CALLS = 12;

    static std::FILE *file() {
        static std::FILE *opened = std::fopen(SBFP_RECORDING, "wb");
        return opened;
    }

    bool active_ = false;
};

}  // namespace csim
