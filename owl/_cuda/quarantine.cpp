#include "quarantine.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <system_error>

#include "_engine/run/thread.h"

namespace owl {
namespace cuda {
namespace {
constexpr size_t kMostBytes = size_t{64} << 20;
constexpr size_t kLeast = 4096;  // that a value counts: there are never too many
constexpr auto kMostAtExit = std::chrono::seconds(1);
size_t counted(const Buffer* buffer) { return std::max(buffer->bytes, kLeast); }
}  // namespace

void Quarantine::add(Buffer* buffer) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (forked_) {
        lock.unlock();
        return buffer->release();
    }
    buffers_.push_back(buffer);
    bytes_ += counted(buffer);
    if (bytes_ <= kMostBytes || stopping_) return;
    if (!started_) {
        try {
            thread_ = start_quiet_thread([this] { loop(); });
            started_ = true;
        } catch (const std::system_error&) {
            return;  // it is emptied when memory is short
        }
    }
    changed_.notify_all();
}

void Quarantine::loop() {
    for (;;) {
        {
            std::unique_lock<std::mutex> lock(mutex_);
            changed_.wait(lock, [this] { return bytes_ > kMostBytes && !stopping_; });
        }
        empty();
    }
}

bool Quarantine::empty() {
    const uint64_t before = times_emptied_.load();
    if (!may_wait()) return false;
    std::lock_guard<std::mutex> one(emptying_);
    std::vector<Buffer*> held;
    {
        std::lock_guard<std::mutex> guard(mutex_);
        if (stopping_) return false;
        held.swap(buffers_);
        bytes_ = 0;
        waiting_ = !held.empty();
    }
    if (held.empty()) return times_emptied_.load() != before;
    const bool over = is_over();
    {
        std::lock_guard<std::mutex> guard(mutex_);
        waiting_ = false;
        if (!over) {
            for (const Buffer* buffer : held) bytes_ += counted(buffer);
            buffers_.insert(buffers_.end(), held.begin(), held.end());
        }
    }
    changed_.notify_all();
    if (!over) return false;
    for (Buffer* buffer : held) buffer->release();
    times_emptied_.fetch_add(1);
    return true;
}

// In a forked child another thread may have had the lock of those that wait.
bool Quarantine::may_wait() {
    std::lock_guard<std::mutex> guard(mutex_);
    return !stopping_ && !forked_;
}

// Of a device that is lost nothing runs any more, and the stream answers with the error as well.
bool Quarantine::is_over() const {
    const ContextGuard guard(device_);
    if (!guard.is_current()) return false;
    return !device_.driver->synchronize_context() || device_.driver->synchronize_stream(device_.compute);
}

void Quarantine::stop() {
    std::unique_lock<std::mutex> lock(mutex_);
    stopping_ = true;
    changed_.wait_for(lock, kMostAtExit, [this] { return !waiting_; });
}

void Quarantine::resume(bool in_child) {
    std::vector<Buffer*> held;
    if (in_child) {
        if (thread_.joinable()) new (&thread_) std::thread;
        new (&changed_) std::condition_variable;
        forked_ = true;
        waiting_ = false;
        held.swap(buffers_);
        bytes_ = 0;
    }
    mutex_.unlock();
    for (Buffer* buffer : held) buffer->release();
}

}  // namespace cuda
}  // namespace owl
