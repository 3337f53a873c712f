// The executor of one CPU device: a thread that takes runs in order and shares each kernel out to the team.
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <system_error>
#include <thread>

#include "_engine/memory/memory.h"
#include "_engine/run/execution.h"
#include "_engine/run/spin.h"
#include "backend.h"
#include "team.h"

namespace owl {
namespace {

constexpr auto kIdle = std::chrono::milliseconds(1);

class CpuExecutor final : public Executor, private Execution {
   public:
    CpuExecutor(const Backend& backend, IdleListener* listener) : backend_(backend), listener_(listener) {}

    ~CpuExecutor() override {
        {
            std::lock_guard<std::mutex> guard(mutex_);
            stopping_ = true;
        }
        abort();
        if (thread_.joinable()) thread_.join();
        if (attached_) team().detach(region_.get());
    }

    const Backend& backend() const override { return backend_; }
    Memory& memory() override { return host_memory(); }
    Buffer* stage(size_t bytes) override { return host_memory().allocate(bytes); }
    bool has_room(int bound) override { return backlog() < bound; }

    void submit(Run* run) override {
        {
            std::lock_guard<std::mutex> guard(mutex_);
            if (!started_ && !start_thread()) return refuse(run);
            queue_.push_back(run);
            backlog_.fetch_add(1, std::memory_order_release);
        }
        if (sleeping_.load(std::memory_order_seq_cst)) wake_.notify_one();
    }

    bool idle() override { return idle_.load(std::memory_order_acquire); }
    int backlog() override { return backlog_.load(std::memory_order_acquire); }

    // The thread lives on and fails what still comes: a program's exit may request values after owl's own exit handler, and
    // must not wait for ever.
    void abort() override {
        {
            std::lock_guard<std::mutex> guard(mutex_);
            aborting_.store(true, std::memory_order_release);
        }
        wake_.notify_all();
    }

    void quiesce() override {
        std::unique_lock<std::mutex> lock(mutex_);
        quiesce_.store(true, std::memory_order_release);
        wake_.notify_all();
        quiet_.wait(lock, [this] { return !busy_ || paused_; });
    }

    void freeze() override { mutex_.lock(); }

    void resume(bool in_child) override {
        quiesce_.store(false, std::memory_order_release);
        if (in_child) {
            // No thread came along. What it was to do is failed by the scheduler.
            if (thread_.joinable()) new (&thread_) std::thread;
            new (&wake_) std::condition_variable;
            new (&quiet_) std::condition_variable;
            queue_.clear();
            backlog_.store(0);
            sleeping_.store(0);
            abandon();
            idle_.store(true);
            busy_ = paused_ = started_ = attached_ = false;
            region_.release();  // may be half-way through a phase
            region_ = std::make_unique<Region>();
        }
        mutex_.unlock();
        quiet_.notify_all();
        wake_.notify_all();
    }

   private:
    bool start_thread() {
        if (!attached_) team().attach(region_.get());
        attached_ = true;
        try {
            thread_ = start_quiet_thread([this] { loop(); });
        } catch (const std::system_error&) {
            return false;
        }
        return started_ = true;
    }

    // The scheduler holds the graph's lock where it submits.
    static void refuse(Run* run) {
        auto* failure = new Failure(FailureKind::out_of_memory, "out of memory: the system gives no more threads");
        RunResult nothing;
        nothing.buffers.assign(run->outputs.size(), nullptr);
        nothing.failures.assign(run->outputs.size(), failure);
        finish_run(run, &nothing);
        failure->release();
        recycle_run(run);
    }

    void loop() {
        while (Run* run = next()) execute(run);
    }

    // Spins for a moment before it sleeps: in a training loop the next plan is never far.
    Run* next() {
        spin([this] { return stopping_hint() || backlog(); });
        std::unique_lock<std::mutex> lock(mutex_);
        busy_ = false;
        quiet_.notify_all();
        sleeping_.fetch_add(1, std::memory_order_seq_cst);
        auto work = [this] { return (!queue_.empty() || stopping_) && !quiesce_.load(); };
        if (!wake_.wait_for(lock, kIdle, work)) {
            idle_.store(true, std::memory_order_release);
            lock.unlock();
            listener_->on_idle();
            lock.lock();
            wake_.wait(lock, work);
        }
        idle_.store(false, std::memory_order_relaxed);
        sleeping_.fetch_sub(1, std::memory_order_seq_cst);
        if (queue_.empty()) return nullptr;
        Run* run = queue_.front();
        queue_.pop_front();
        busy_ = true;
        return run;
    }
    bool stopping_hint() const {
        return aborting_.load(std::memory_order_relaxed) || quiesce_.load(std::memory_order_relaxed);
    }

    void pause_here() {
        std::unique_lock<std::mutex> lock(mutex_);
        paused_ = true;
        quiet_.notify_all();
        quiet_.wait(lock, [this] { return !quiesce_.load(); });
        paused_ = false;
    }

    void execute(Run* run) {
        result_.buffers.assign(run->outputs.size(), nullptr);
        result_.failures.assign(run->outputs.size(), nullptr);
        {
            std::unique_lock<GraphLock> lock(graph().mutex);
            run->begun = true;
            if (bind(run)) {
                lock.unlock();
                perform(run);
                lock.lock();
            }
            backlog_.fetch_sub(1, std::memory_order_release);
            finish_run(run, &result_);
            let_go_of_failures();
            recycle_run(run);
        }
        result_.buffers.clear();
    }

    Memory& execution_memory() override { return host_memory(); }
    const Backend& execution_backend() const override { return backend_; }
    // A CPU's leaves are filled where they are made.
    void launch_upload(const Buffer* from, Buffer* to) override { std::memcpy(to->data, from->data, from->bytes); }
    void launch(const Step& step, char* args) override { region_->run(kernel_of(step), args); }
    bool reserve_scratch(size_t bytes) override { return region_->reserve_scratch(bytes); }
    bool release_scratch() override { return region_->release_scratch(); }
    size_t scratch_threads() const override { return static_cast<size_t>(team().size()); }
    void enter() override { team().enter(); }
    void leave() override { team().leave(); }
    void pause_if_asked() override {
        if (quiesce_.load(std::memory_order_relaxed)) pause_here();
    }
    bool is_aborting() const override { return aborting_.load(std::memory_order_acquire); }


    const Backend& backend_;
    IdleListener* const listener_;
    std::unique_ptr<Region> region_ = std::make_unique<Region>();
    std::mutex mutex_;
    std::condition_variable wake_, quiet_;
    std::deque<Run*> queue_;
    std::thread thread_;
    std::atomic<int> backlog_{0}, sleeping_{0};
    std::atomic<bool> quiesce_{false}, aborting_{false}, idle_{true};
    bool started_ = false, attached_ = false, stopping_ = false, busy_ = false, paused_ = false;
};

}  // namespace

std::unique_ptr<Executor> make_cpu_executor(const Backend& backend, IdleListener* listener) {
    return std::make_unique<CpuExecutor>(backend, listener);
}

}  // namespace owl
