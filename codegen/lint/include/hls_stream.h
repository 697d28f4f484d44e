// What the kernels may use of hls::stream: no depth, no name, no empty(), so that they stay portable.
#pragma once

namespace hls {

template <typename T>
class stream {
  public:
    stream() {}
    void write(const T &item);
    T read();

  private:
    stream(const stream &);
};

}  // namespace hls
