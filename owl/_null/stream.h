// The stream of a remote device: what it was told to do, done in this order by a thread of its own.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "_engine/plan/plan.h"

namespace owl {

class Stream {
   public:
    using Work = std::function<void()>;

    // By any thread. While no thread of the stream's runs there is nothing to come after, and the work is done at once.
    // With work that marks the end of a run, the thread waits a while for a later one: nothing is to rely on a run's
    // completion before the next has been issued.
    void push(Work work, bool ends_run = false);
    // Returns when all that was pushed is done.
    void drain();
    // Starts the thread; std::system_error if there are no more.
    void start();
    void stop();
    // For fork: holds the thread between two pieces of work; then its lock; then lets it go on. In a child it is gone.
    void quiesce();
    void freeze() { mutex_.lock(); }
    void resume(bool in_child);

   private:
    struct Item {
        Work work;
        bool ends_run;
    };
    void loop();

    std::mutex mutex_;
    std::condition_variable wake_, quiet_;
    std::deque<Item> items_;
    std::thread thread_;
    int ends_ = 0;  // among the items
    bool started_ = false, busy_ = false, held_ = false, stopping_ = false;
};

}  // namespace owl
