// What was issued to one stream and is not over: a ring of events, and a thread that sees them pass, in order.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "device.h"

namespace owl {
namespace cuda {

class Queue {
   public:
    // `error`: CUDA's, for what was marked; `lost`: nor can anything else be done with the device.
    using Over = std::function<void(Result error, bool lost)>;

    Queue(const Device& device, Stream stream, const std::vector<Event>& events)
        : device_(device), stream_(stream), events_(events) {}

    // By the executor's thread, which waits while all events are in use. Marks the end of what was issued to the stream so
    // far; `over` is called by the queue's thread when that is reached. Returns the mark's number: 1, 2, …
    uint64_t mark(Over over);
    // The number of the mark that comes next. By the executor's thread.
    uint64_t next() const { return made_ + 1; }
    // Work that is issued to `stream` from now on comes after that mark. By the executor's thread.
    Result wait_in(Stream stream, uint64_t number) const;
    // Work that is issued to `stream` from now on comes after all that was issued to this queue's. By the executor's thread,
    // which waits while all events are in use.
    Result order_before(Stream stream);
    // All marks up to this one are reached. By any thread.
    uint64_t reached() const { return reached_.load(std::memory_order_acquire); }

    // std::system_error if there are no more threads.
    void start();
    // For fork: holds the queue's lock; then lets it go. In a child the thread is gone, and nothing is issued any more.
    void freeze() { mutex_.lock(); }
    void resume(bool in_child);

   private:
    struct Mark {
        uint64_t number;
        bool recorded;
        Result error;  // of waiting for it at once, where no event could be recorded
        Over over;
    };
    Event event_of(uint64_t number) const { return events_[number % events_.size()]; }
    void wait_for_event();
    void loop();
    Result wait_for(const Mark& mark, bool* lost) const;

    const Device& device_;
    const Stream stream_;
    const std::vector<Event>& events_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Mark> marks_;
    std::thread thread_;
    uint64_t made_ = 0;  // by the executor's thread
    std::atomic<uint64_t> reached_{0};
};

}  // namespace cuda
}  // namespace owl
