// hls::stream for C simulation with g++ or clang. Synthesis takes the vendor's
// own header instead: this folder is only on the simulation's include path.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace hls {

// A FIFO of unlimited depth. Reading an empty one is a deadlock in hardware,
// so the simulation stops there.
template <typename T>
class stream {
  public:
    stream() = default;
    stream(const stream &) = delete;
    stream &operator=(const stream &) = delete;

    ~stream() {
        if (waiting_count() != 0) {
            std::fprintf(stderr, "hls::stream: %zu items were written and never read\n", waiting_count());
            std::abort();
        }
    }

    void write(const T &item) { items_.push_back(item); }

    T read() {
        if (head_ == items_.size()) {
            std::fprintf(stderr, "hls::stream: read from an empty stream\n");
            std::abort();
        }
        const T item = items_[head_++];
        if (head_ == items_.size()) {
            items_.clear();
            head_ = 0;
        }
        return item;
    }

    // The items that wait, first one first: for recording them (hls/csim/recording/recorder.hpp).
    const T *waiting() const { return items_.data() + head_; }
    std::size_t waiting_count() const { return items_.size() - head_; }

  private:
    std::vector<T> items_;
    std::size_t head_ = 0;
};

}  // namespace hls
