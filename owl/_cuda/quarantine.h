// Values that other libraries have let go of. Such a library's kernels may still be queued, on a stream of its own that owl does
// not know, and that may be gone. So owl neither overwrites nor frees the memory before all that was queued on the GPU is over.
#pragma once
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "_engine/memory/buffer.h"
#include "device.h"

namespace owl {
namespace cuda {

class Quarantine {
   public:
    explicit Quarantine(const Device& device) : device_(device) {}

    // By any thread, which does not call the driver; takes over the reference. A thread of the quarantine's own empties it when
    // it holds more than 64 MiB.
    void add(Buffer* buffer);
    // Waits for what is queued on the GPU, and lets go of what was added before. By a thread that may wait for the driver.
    // Returns whether there was anything, and it is free.
    bool empty();
    // The program ends: the driver is not called any more.
    void stop();

    // For fork: holds the lock; then lets it go. In a child nothing is queued, and nothing waits.
    void freeze() { mutex_.lock(); }
    void resume(bool in_child);

   private:
    void loop();
    bool may_wait();
    bool is_over() const;

    const Device& device_;
    std::mutex emptying_;  // by the thread that waits for the driver
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Buffer*> buffers_;
    size_t bytes_ = 0;
    std::atomic<uint64_t> times_emptied_{0};
    std::thread thread_;
    bool started_ = false, waiting_ = false, stopping_ = false, forked_ = false;
};

}  // namespace cuda
}  // namespace owl
