// Dataflow processes as threads, for C simulation. A deadlock is reported at
// the moment at which the last thread that could run starts to wait.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace csim {

// All threads of the simulation: how many can run, and what the others wait for.
struct Threads {
    std::mutex lock;
    int running = 1;  // the one that calls the kernel
    std::list<std::string> waiting;

    static Threads &all() {
        static Threads threads;
        return threads;
    }

    // Name of this thread's process, with those around it.
    static std::string &process() {
        static thread_local std::string name = "top";
        return name;
    }

    // To be called with the lock held, when a thread has stopped running.
    void stopped() {
        running -= 1;
        if (running > 0) {
            return;
        }
        std::string text;
        for (const std::string &one : waiting) {
            text += (text.empty() ? "" : "; ") + one;
        }
        std::fprintf(stderr, "deadlock: %s\n", text.c_str());
        std::abort();
    }
};

// Where one thread waits for another.
class Waiter {
  public:
    // Returns once `ready` is true. Whoever makes it true must call wake().
    template <typename Ready>
    void wait(Ready ready, const char *what, const char *name, std::size_t depth, const char *state) {
        Threads &threads = Threads::all();
        std::unique_lock<std::mutex> hold(threads.lock);
        waits_ = true;  // before another look, so that a change after that look finds it
        // a wake may be late, and mean a change that has been seen already
        while (!ready()) {
            char text[256];
            std::snprintf(text, sizeof(text), "process %s waits %s %s (depth %zu, %s)", Threads::process().c_str(),
                          what, name, depth, state);
            const auto entry = threads.waiting.insert(threads.waiting.end(), text);
            woken_ = false;
            threads.stopped();
            signal_.wait(hold, [&] { return woken_; });
            threads.waiting.erase(entry);
            waits_ = true;
        }
        waits_ = false;
    }

    void wake() {
        if (!waits_) {
            return;
        }
        Threads &threads = Threads::all();
        std::lock_guard<std::mutex> hold(threads.lock);
        if (waits_) {
            waits_ = false;
            woken_ = true;
            threads.running += 1;
            signal_.notify_one();
        }
    }

  private:
    std::atomic<bool> waits_{false};
    bool woken_ = false;
    std::condition_variable signal_;
};

// An array or struct between two processes: two buffers, one being written
// while the other is read. T may be an array type.
template <typename T>
class PingPong {
  public:
    explicit PingPong(const char *name) : name_(name), slots_(BUFFERS) {}

    T &begin_write() {
        const std::size_t at = written_;
        if (at - read_ == BUFFERS) {
            writer_.wait([&] { return at - read_ < BUFFERS; }, "to write channel", name_, BUFFERS, "full");
        }
        // what a process fails to write must show
        std::memset(static_cast<void *>(&slots_[at % BUFFERS].value), 0xa5, sizeof(T));
        return slots_[at % BUFFERS].value;
    }

    void end_write() {
        written_ = written_ + 1;
        reader_.wake();
    }

    T &begin_read() {
        const std::size_t at = read_;
        if (at == written_) {
            reader_.wait([&] { return at != written_; }, "to read channel", name_, BUFFERS, "empty");
        }
        return slots_[at % BUFFERS].value;
    }

    void end_read() {
        read_ = read_ + 1;
        writer_.wake();
    }

  private:
    static const std::size_t BUFFERS = 2;
    struct Slot {
        T value;
    };

    const char *name_;
    std::vector<Slot> slots_;
    std::atomic<std::size_t> written_{0};
    std::atomic<std::size_t> read_{0};
    Waiter writer_;
    Waiter reader_;
};

// A DATAFLOW region: every process runs through all iterations in its own thread.
class Region {
  public:
    explicit Region(const char *name) : name_(name) {}

    void process(const char *name, std::function<void()> body) { processes_.push_back({name, std::move(body)}); }

    // Returns when all processes have ended.
    void run() {
        Threads &threads = Threads::all();
        {
            std::lock_guard<std::mutex> hold(threads.lock);
            threads.running += static_cast<int>(processes_.size());
        }
        left_ = processes_.size();
        std::vector<std::thread> started;
        for (const Process &p : processes_) {
            started.emplace_back([this, &p, &threads] {
                Threads::process() = std::string(name_) + "/" + p.name;
                p.body();
                if (--left_ == 0) {
                    ended_.wake();
                }
                std::lock_guard<std::mutex> hold(threads.lock);
                threads.stopped();
            });
        }
        if (left_ != 0) {
            ended_.wait([&] { return left_ == 0; }, "for the end of", name_, processes_.size(), "processes");
        }
        for (std::thread &t : started) {
            t.join();
        }
    }

  private:
    struct Process {
        const char *name;
        std::function<void()> body;
    };

    const char *name_;
    std::vector<Process> processes_;
    std::atomic<std::size_t> left_{0};
    Waiter ended_;
};

}  // namespace csim
