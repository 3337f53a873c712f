// An executor that begins runs before those ahead of them have ended: a device does later, in order, what it was told.
#pragma once
#include "threaded_executor.h"

namespace owl {

class IssuingExecutor : public ThreadedExecutor {
   public:
    // Uploads do not count: a batch that is on its way ahead of its step is what recording is for.
    bool has_room(int bound) override;
    void submit(Run* run) override;

   protected:
    explicit IssuingExecutor(IdleListener* listener) : ThreadedExecutor(listener) {}

    // Before the steps of a run are launched.
    virtual void begin_run(const Run*) {}
    // All of the run has been launched: end() is to be called once the device has done it, by any thread.
    virtual void mark_end(Run* run) = 0;
    // Under the graph's lock, before the outputs of a run exist, or fail.
    virtual void before_end(const Run*, bool /*failed*/) {}
    // `failure`, which is taken over: the device could not do it.
    void end(Run* run, Failure* failure = nullptr);
    void forget() override;

   private:
    void execute(Run* run) final;
    void count_end_of(const Run* run);

    std::atomic<int> planned_{0};           // runs with a plan that have not ended
    std::atomic<size_t> planned_bytes_{0};  // that they store
};

}  // namespace owl
