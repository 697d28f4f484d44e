// hls::stream for the threaded C simulation: bounded and blocking, as in
// hardware. codegen/simulation/threaded.py writes the depths in, from the STREAM pragmas.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "processes.hpp"

namespace hls {

// One thread writes and one reads. Neither takes the lock unless it has to
// wait, or to wake the other.
template <typename T>
class stream {
  public:
    // The default depth is the HLS compiler's.
    explicit stream(const char *name = "without a name", int depth = 2)
        : name_(name), depth_(static_cast<std::size_t>(depth)), items_(depth_) {}
    stream(const stream &) = delete;
    stream &operator=(const stream &) = delete;

    ~stream() {
        if (written_ != read_) {
            std::fprintf(stderr, "stream %s: %zu items were written and never read\n", name_, written_ - read_);
            std::abort();
        }
    }

    void write(const T &item) {
        const std::size_t at = written_;
        if (at - read_ == depth_) {
            writer_.wait([&] { return at - read_ < depth_; }, "to write stream", name_, depth_, "full");
        }
        items_[at % depth_] = item;
        written_ = at + 1;
        reader_.wake();
    }

    T read() {
        const std::size_t at = read_;
        if (at == written_) {
            reader_.wait([&] { return at != written_; }, "to read stream", name_, depth_, "empty");
        }
        const T item = items_[at % depth_];
        read_ = at + 1;
        writer_.wake();
        return item;
    }

  private:
    const char *name_;
    std::size_t depth_;
    std::vector<T> items_;
    std::atomic<std::size_t> written_{0};
    std::atomic<std::size_t> read_{0};
    csim::Waiter writer_;
    csim::Waiter reader_;
};

}  // namespace hls
