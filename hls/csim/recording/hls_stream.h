// hls::stream for recording what the stages read and write (codegen/simulation/stage_recording.py):
// as in hls/csim, and its items can be looked at.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <deque>

namespace hls {

template <typename T>
class stream {
  public:
    stream() = default;
    stream(const stream &) = delete;
    stream &operator=(const stream &) = delete;

    ~stream() {
        if (!items_.empty()) {
            std::fprintf(stderr, "hls::stream: %zu items were written and never read\n", items_.size());
            std::abort();
        }
    }

    void write(const T &item) { items_.push_back(item); }

    T read() {
        if (items_.empty()) {
            std::fprintf(stderr, "hls::stream: read from an empty stream\n");
            std::abort();
        }
        const T item = items_.front();
        items_.pop_front();
        return item;
    }

    const std::deque<T> &items() const { return items_; }

  private:
    std::deque<T> items_;
};

}  // namespace hls
