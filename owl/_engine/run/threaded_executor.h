// An executor with a thread that takes runs in their order: how it sleeps, holds still for a fork, and ends.
#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "execution.h"

namespace owl {

class ThreadedExecutor : public Execution {
   public:
    void submit(Run* run) override;
    bool idle() override { return idle_.load(std::memory_order_acquire); }
    int backlog() override { return backlog_.load(std::memory_order_acquire); }
    // The thread lives on and fails what still comes: a program's exit may request values after owl's own exit handler, and
    // must not wait for ever.
    void abort() override;
    void quiesce() override;
    void freeze() override { mutex_.lock(); }
    void resume(bool in_child) override;

   protected:
    explicit ThreadedExecutor(IdleListener* listener) : listener_(listener) {}

    // Something else that the thread is to do for another, before the next run: it knows the device's driver. It may be over
    // when execute() returns, or later.
    struct Errand {
        virtual ~Errand() = default;
        virtual void execute() = 0;
    };
    // By any thread. The caller keeps the errand alive until it is over. False if there is no thread to do it: there never was
    // one and `start` does not ask for it, or the system gives none.
    bool send(Errand* errand, bool start = false);
    // By the destructors of those that inherit: their threads are theirs no longer.
    void stop();

    // By the thread, without locks.
    virtual void execute(Run* run) = 0;
    // Before the thread is started for the first time; std::system_error if there are no more threads.
    virtual void begin() {}
    // By the thread, before all else.
    virtual void enter_thread() {}
    // In a forked child, where no thread came along. What was to be done is failed by the scheduler.
    virtual void forget() {}
    // Under the graph's lock: a run has ended.
    void count_end() { backlog_.fetch_sub(1, std::memory_order_release); }

    void pause_if_asked() override {
        if (quiesce_.load(std::memory_order_relaxed)) pause_here();
    }
    bool must_stop() const override { return aborting_.load(std::memory_order_acquire); }
    Failure* stop_reason() const override {
        return new Failure(FailureKind::dropped, "the work was dropped: the program is ending");
    }

   private:
    bool start_thread();
    void loop();
    bool next(Run** run, Errand** errand);  // one of the two; false at the end
    void pause_here();

    IdleListener* const listener_;
    std::mutex mutex_;
    std::condition_variable wake_, quiet_;
    std::deque<Run*> queue_;
    std::deque<Errand*> errands_;
    std::thread thread_;
    std::atomic<int> backlog_{0};  // in the queue or not ended yet
    alignas(64) std::atomic<int> queued_{0};  // runs and errands
    alignas(64) std::atomic<int> sleeping_{0};
    std::atomic<bool> quiesce_{false}, aborting_{false}, idle_{true};
    bool started_ = false, begun_ = false, stopping_ = false, busy_ = false, paused_ = false;
};

}  // namespace owl
