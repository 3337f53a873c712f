#include "stream.h"

#include <chrono>
#include <new>

#include "_engine/run/thread.h"

namespace owl {
namespace {
constexpr auto kLate = std::chrono::microseconds(100);
}

void Stream::push(Work work, bool ends_run) {
    {
        std::unique_lock<std::mutex> lock(mutex_);
        if (!started_) {
            lock.unlock();
            return work();
        }
        items_.push_back({std::move(work), ends_run});
        ends_ += ends_run;
    }
    wake_.notify_one();
}

void Stream::drain() {
    std::unique_lock<std::mutex> lock(mutex_);
    quiet_.wait(lock, [this] { return items_.empty() && !busy_; });
}

void Stream::start() {
    if (started_) return;
    thread_ = start_quiet_thread([this] { loop(); });
    started_ = true;
}

void Stream::stop() {
    {
        std::lock_guard<std::mutex> guard(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
}

void Stream::quiesce() {
    std::unique_lock<std::mutex> lock(mutex_);
    held_ = true;
    quiet_.wait(lock, [this] { return !busy_; });
}

void Stream::resume(bool in_child) {
    held_ = false;
    if (in_child) {
        if (thread_.joinable()) new (&thread_) std::thread;
        new (&wake_) std::condition_variable;
        new (&quiet_) std::condition_variable;
        items_.clear();
        ends_ = 0;
        started_ = busy_ = false;
    }
    mutex_.unlock();
    wake_.notify_one();
}

void Stream::loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        busy_ = false;
        quiet_.notify_all();
        wake_.wait(lock, [this] { return (!items_.empty() && !held_) || stopping_; });
        if (items_.empty()) return;
        if (items_.front().ends_run) wake_.wait_for(lock, kLate, [this] { return ends_ > 1 || held_ || stopping_; });
        if (held_) continue;
        const Item item = std::move(items_.front());
        items_.pop_front();
        ends_ -= item.ends_run;
        busy_ = true;
        lock.unlock();
        item.work();
        lock.lock();
    }
}

}  // namespace owl
