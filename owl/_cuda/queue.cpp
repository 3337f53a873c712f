#include "queue.h"

#include <chrono>
#include <new>

#include "_engine/graph/pause.h"
#include "_engine/run/thread.h"

namespace owl {
namespace cuda {
namespace {
// Asking is quicker than sleeping where a run takes as long as waking up does; asked without end, the driver's lock would be
// kept from the thread that issues.
constexpr auto kAsk = std::chrono::microseconds(20);
}  // namespace

// Until that of the next mark is free.
void Queue::wait_for_event() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return marks_.size() < events_.size(); });
}

uint64_t Queue::mark(Over over) {
    wait_for_event();
    const uint64_t number = ++made_;
    Mark mark{number, true, kSuccess, std::move(over)};
    mark.recorded = device_.driver->record_event(event_of(number), stream_) == kSuccess;
    // Without an event nothing could come after the mark, so it is reached before anything else is issued.
    if (!mark.recorded) mark.error = device_.driver->synchronize_stream(stream_);
    {
        std::lock_guard<std::mutex> guard(mutex_);
        marks_.push_back(std::move(mark));
    }
    changed_.notify_all();
    return number;
}

Result Queue::wait_in(Stream stream, uint64_t number) const {
    if (number <= reached()) return kSuccess;
    // The ring may have gone round: then the event marks something later, which is right too.
    return device_.driver->wait_event(stream, event_of(number), 0);
}

// The next mark records the same event anew. A wait keeps what the event had recorded when the wait was issued.
Result Queue::order_before(Stream stream) {
    wait_for_event();
    const Event event = event_of(next());
    const bool ordered = !device_.driver->record_event(event, stream_) && !device_.driver->wait_event(stream, event, 0);
    return ordered ? kSuccess : device_.driver->synchronize_stream(stream_);
}

void Queue::start() {
    thread_ = start_quiet_thread([this] { loop(); });
}

void Queue::loop() {
    device_.driver->push_context(device_.context);
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return !marks_.empty(); });
        const Mark& mark = marks_.front();  // stays where it is: others only append
        lock.unlock();
        bool lost = false;
        const Result error = wait_for(mark, &lost);
        reached_.store(mark.number, std::memory_order_release);
        mark.over(error, lost);
        lock.lock();
        marks_.pop_front();
        changed_.notify_all();
    }
}

Result Queue::wait_for(const Mark& mark, bool* lost) const {
    if (!mark.recorded) {
        *lost = mark.error != kSuccess;
        return mark.error;
    }
    const Driver& driver = *device_.driver;
    Result error;
    const auto until = std::chrono::steady_clock::now() + kAsk;
    do {
        error = driver.query_event(event_of(mark.number));
        pause_briefly();
    } while (error == kNotReady && std::chrono::steady_clock::now() < until);
    if (error == kNotReady) error = driver.synchronize_event(event_of(mark.number));
    if (error == kSuccess) return kSuccess;
    // The call may have failed, or what it waits for. Of the first kind, the stream goes on.
    const Result stream_error = driver.synchronize_stream(stream_);
    *lost = stream_error != kSuccess;
    return *lost ? stream_error : error;
}

void Queue::resume(bool in_child) {
    if (in_child) {
        if (thread_.joinable()) new (&thread_) std::thread;
        new (&changed_) std::condition_variable;
        marks_.clear();
    }
    mutex_.unlock();
}

}  // namespace cuda
}  // namespace owl
