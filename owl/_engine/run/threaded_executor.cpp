#include "threaded_executor.h"

#include <chrono>
#include <new>
#include <system_error>

#include "_engine/plan/plan_bin.h"
#include "spin.h"
#include "thread.h"

namespace owl {
namespace {

constexpr auto kIdle = std::chrono::milliseconds(1);

template <class T>
T* take_first(std::deque<T*>* queue) {
    if (queue->empty()) return nullptr;
    T* first = queue->front();
    queue->pop_front();
    return first;
}

// The scheduler holds the graph's lock where it submits.
void refuse(Run* run) {
    auto* failure = new Failure(FailureKind::out_of_memory, "out of memory: the system gives no more threads");
    RunResult nothing;
    nothing.buffers.assign(run->outputs.size(), nullptr);
    nothing.failures.assign(run->outputs.size(), failure);
    finish_run(run, &nothing);
    failure->release();
    recycle_run(run);
}

}  // namespace

void ThreadedExecutor::stop() {
    {
        std::lock_guard<std::mutex> guard(mutex_);
        stopping_ = true;
    }
    abort();
    if (thread_.joinable()) thread_.join();
}

void ThreadedExecutor::submit(Run* run) {
    {
        std::lock_guard<std::mutex> guard(mutex_);
        if (!started_ && !start_thread()) return refuse(run);
        queue_.push_back(run);
        backlog_.fetch_add(1, std::memory_order_release);
    }
    queued_.fetch_add(1, std::memory_order_release);  // after the lock, which the thread takes as soon as it sees this
    if (sleeping_.load(std::memory_order_seq_cst)) wake_.notify_one();
}

bool ThreadedExecutor::send(Errand* errand, bool start) {
    {
        std::lock_guard<std::mutex> guard(mutex_);
        if (!started_ && !(start && start_thread())) return false;
        errands_.push_back(errand);
    }
    queued_.fetch_add(1, std::memory_order_release);
    if (sleeping_.load(std::memory_order_seq_cst)) wake_.notify_one();
    return true;
}

void ThreadedExecutor::abort() {
    {
        std::lock_guard<std::mutex> guard(mutex_);
        aborting_.store(true, std::memory_order_release);
    }
    wake_.notify_all();
}

void ThreadedExecutor::quiesce() {
    std::unique_lock<std::mutex> lock(mutex_);
    quiesce_.store(true, std::memory_order_release);
    wake_.notify_all();
    quiet_.wait(lock, [this] { return !busy_ || paused_; });
}

void ThreadedExecutor::resume(bool in_child) {
    quiesce_.store(false, std::memory_order_release);
    if (in_child) {
        if (thread_.joinable()) new (&thread_) std::thread;
        new (&wake_) std::condition_variable;
        new (&quiet_) std::condition_variable;
        queue_.clear();
        errands_.clear();
        backlog_.store(0);
        queued_.store(0);
        sleeping_.store(0);
        abandon();
        idle_.store(true);
        busy_ = paused_ = started_ = begun_ = false;
        forget();
    }
    mutex_.unlock();
    quiet_.notify_all();
    wake_.notify_all();
}

bool ThreadedExecutor::start_thread() {
    try {
        if (!begun_) begin();
        begun_ = true;
        thread_ = start_quiet_thread([this] { loop(); });
    } catch (const std::system_error&) {
        return false;
    }
    return started_ = true;
}

void ThreadedExecutor::loop() {
    enter_thread();
    Run* run;
    Errand* errand;
    while (next(&run, &errand)) {
        if (errand) {
            errand->execute();
            continue;
        }
        execute(run);
        empty_plan_bin();
    }
}

// Spins for a moment before it sleeps: in a training loop the next plan is never far.
bool ThreadedExecutor::next(Run** run, Errand** errand) {
    spin([this] {
        return aborting_.load(std::memory_order_relaxed) || quiesce_.load(std::memory_order_relaxed) ||
               queued_.load(std::memory_order_acquire);
    });
    std::unique_lock<std::mutex> lock(mutex_);
    busy_ = false;
    quiet_.notify_all();
    sleeping_.fetch_add(1, std::memory_order_seq_cst);
    auto work = [this] { return (!queue_.empty() || !errands_.empty() || stopping_) && !quiesce_.load(); };
    if (!wake_.wait_for(lock, kIdle, work)) {
        idle_.store(true, std::memory_order_release);
        lock.unlock();
        listener_->on_idle();
        lock.lock();
        wake_.wait(lock, work);
    }
    idle_.store(false, std::memory_order_relaxed);
    sleeping_.fetch_sub(1, std::memory_order_seq_cst);
    if (queue_.empty() && errands_.empty()) return false;
    queued_.fetch_sub(1, std::memory_order_relaxed);
    busy_ = true;
    *errand = take_first(&errands_);
    *run = *errand ? nullptr : take_first(&queue_);
    return true;
}

void ThreadedExecutor::pause_here() {
    std::unique_lock<std::mutex> lock(mutex_);
    paused_ = true;
    quiet_.notify_all();
    quiet_.wait(lock, [this] { return !quiesce_.load(); });
    paused_ = false;
}

}  // namespace owl
