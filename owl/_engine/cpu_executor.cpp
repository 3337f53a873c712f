// The executor of one CPU device: a thread that takes runs in order and shares each kernel out to the team.
#include <sched.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <system_error>
#include <thread>

#include "executor.h"
#include "fault.h"
#include "team.h"

namespace owl {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kSpin = std::chrono::microseconds(30);
constexpr auto kIdle = std::chrono::milliseconds(1);

class CpuExecutor final : public Executor {
   public:
    CpuExecutor(const KernelTable& kernels, void (*on_idle)()) : kernels_(kernels), on_idle_(on_idle) {}

    ~CpuExecutor() override {
        {
            std::lock_guard<std::mutex> guard(mutex_);
            stopping_ = true;
        }
        abort();
        if (thread_.joinable()) thread_.join();
        if (attached_) team().detach(region_.get());
    }

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
    Buffer* allocate(size_t bytes) override { return host_memory().allocate(bytes); }
    bool copy_in(Buffer* buffer, const void* data, size_t bytes) override {
        std::memcpy(buffer->data, data, bytes);
        return true;
    }
    bool copy_out(const Buffer* buffer, void* data, size_t bytes) override {
        std::memcpy(data, buffer->data, bytes);
        return true;
    }
    Buffer* copy_to_peer(Buffer* buffer, Executor*) override { return buffer->retain(); }
    uint64_t signal() override { return 0; }
    void wait(Executor*, uint64_t) override {}
    MemoryInfo memory_info() override { return host_memory().info(); }
    const KernelTable& kernels() override { return kernels_; }

    // The thread lives on and fails what still comes: a program's exit may demand values after owl's own exit handler, and
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
            abandon_run();
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

    // In a forked child: what the run in hand had reserved goes back; its values are failed with the other runs'.
    void abandon_run() {
        for (Buffer* buffer : result_.buffers)
            if (buffer) buffer->release();
        result_.buffers.clear();
        if (arena_) arena_->release();
        arena_ = nullptr;
        for (auto* failures : {&owned_failures_, &held_failures_}) {
            for (Failure* failure : *failures) failure->release();
            failures->clear();
        }
    }

    // Spins for a moment before it sleeps: in a training loop the next plan is never far.
    Run* next() {
        const auto deadline = Clock::now() + kSpin;
        for (int spins = 1; !stopping_hint() && !backlog(); ++spins) {
            pause_briefly();
            if (spins % 64) continue;
            sched_yield();
            if (Clock::now() > deadline) break;
        }
        std::unique_lock<std::mutex> lock(mutex_);
        busy_ = false;
        quiet_.notify_all();
        sleeping_.fetch_add(1, std::memory_order_seq_cst);
        auto work = [this] { return (!queue_.empty() || stopping_) && !quiesce_.load(); };
        if (!wake_.wait_for(lock, kIdle, work)) {
            idle_.store(true, std::memory_order_release);
            lock.unlock();
            on_idle_();  // may submit to this very executor
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
            std::unique_lock<std::mutex> lock(graph().mutex);
            if (bind(run)) {
                lock.unlock();
                perform(run);
                lock.lock();
            }
            backlog_.fetch_sub(1, std::memory_order_release);
            finish_run(run, &result_);
            // Still under the lock: whoever drops the last array that failed is then the one who lets go of the failure.
            for (Failure* failure : owned_failures_) failure->release();
            for (Failure* failure : held_failures_) failure->release();
            recycle_run(run);
        }
        owned_failures_.clear();
        held_failures_.clear();
        result_.buffers.clear();
    }

    void perform(Run* run) {
        team().enter();
        Plan& plan = *plan_;
        if (reserve(run, plan))
            compute(run, plan);
        else
            fail_all(run, out_of_memory(run, plan));
        if (arena_) arena_->release();
        arena_ = nullptr;
        team().leave();
    }

    // Under the graph's lock. Finds the inputs. Returns false if nobody can see the outputs any more, or if the executor is
    // to stop: then the run must be finished before the lock is released.
    bool bind(Run* run) {
        plan_ = run->plan.get();
        bool wanted = false;
        for (Node* node : run->outputs) wanted = wanted || node->live() || node->pins || node->waiters;
        if (aborting_.load(std::memory_order_acquire)) {
            fail_all(run, own(new Failure(FailureKind::dropped, "the work was dropped: the program is ending")));
            return false;
        }
        if (!wanted) {
            fail_all(run, own(new Failure(FailureKind::dropped, "the work was dropped: nobody could see its result any more")));
            return false;
        }
        input_.assign(run->inputs.size(), nullptr);
        input_failure_.assign(run->inputs.size(), nullptr);
        bool failed = false;
        for (size_t i = 0; i < run->inputs.size(); ++i) {
            Node* node = run->inputs[i];
            if (node->state == State::failed) {
                input_failure_[i] = node->failure;
                held_failures_.push_back(node->failure->retain());
                failed = true;
            } else {
                input_[i] = node->buffer;
            }
        }
        if (failed) {
            if (!plan_->unfused) {
                plan_->unfused = same_nodes(*plan_);
                compile_plan(plan_->unfused.get(), kernels_, false);
            }
            plan_ = plan_->unfused.get();
        }
        donated_.assign(run->inputs.size(), 0);
        for (const PlanOutput& output : plan_->outputs) {
            if (output.donated_input < 0) continue;
            const Node* node = run->inputs[output.donated_input];
            donated_[output.donated_input] = !node->live() && node->pins == 1 && node->buffer && node->buffer->exclusive();
        }
        return true;
    }

    bool reserve(Run* run, const Plan& plan) {
        for (size_t k = 0; k < plan.outputs.size(); ++k) {
            const PlanOutput& output = plan.outputs[k];
            if (output.alias_input >= 0) {
                Buffer* buffer = input_[output.alias_input];
                result_.buffers[k] = buffer ? buffer->retain() : nullptr;
            } else if (output.alias_output >= 0) {
                result_.buffers[k] = result_.buffers[output.alias_output]->retain();
            } else if (output.donated_input >= 0 && donated_[output.donated_input]) {
                result_.buffers[k] = input_[output.donated_input]->retain();
            } else if (!(result_.buffers[k] = allocate(output.bytes))) {
                return false;
            }
        }
        if (plan.arena_bytes && !(arena_ = allocate(plan.arena_bytes))) return false;
        (void)run;
        return region_->reserve_scratch(plan.scratch_bytes);
    }

    char* address(const Slot& slot) const {
        switch (slot.kind) {
            case Slot::input: return input_[slot.number] ? static_cast<char*>(input_[slot.number]->data) : nullptr;
            case Slot::output: return static_cast<char*>(result_.buffers[slot.number]->data);
            default: return static_cast<char*>(arena_->data) + slot.offset;
        }
    }

    void compute(Run* run, Plan& plan) {
        scalars_.resize(plan.scalar_order.size());
        for (size_t i = 0; i < scalars_.size(); ++i) scalars_[i] = run->scalars[plan.scalar_order[i]];
        node_failure_.assign(plan.nodes.size(), nullptr);
        for (Step& step : plan.steps) {
            if (quiesce_.load(std::memory_order_relaxed)) pause_here();
            if (Failure* failure = reason_not_to(step, run, plan)) {
                for (int32_t i : step.operations) node_failure_[i] = failure;
                continue;
            }
            if (const int delay = kernel_delay()) std::this_thread::sleep_for(std::chrono::microseconds(delay));
            auto* args = reinterpret_cast<char*>(step.args.data());
            for (const Patch& patch : step.patches) {
                char* pointer = address(plan.slots[patch.slot]) + patch.offset;
                if (patch.argument >= 0) pointer += run->arguments[patch.argument] * static_cast<int64_t>(patch.item_size);
                std::memcpy(args + patch.field, &pointer, sizeof pointer);
            }
            for (const ArgumentPatch& patch : step.argument_patches)
                std::memcpy(args + patch.field, &run->arguments[patch.argument], sizeof(int64_t));
            if (step.scalars_field >= 0) {
                const double* scalars = scalars_.data() + step.first_scalar;
                std::memcpy(args + step.scalars_field, &scalars, sizeof scalars);
            }
            region_->run(*step.kernel, args);
        }
        for (size_t k = 0; k < plan.outputs.size(); ++k) {
            const Ref root = plan.root[plan.outputs[k].node];
            Failure* failure = root >= 0 ? node_failure_[root] : input_failure_[~root];
            if (failure) fail_output(k, failure);
        }
    }

    // Why a value does not exist. A transpose that its reader has absorbed is no step's; it fails as its input does.
    Failure* failure_of(Ref ref, const Plan& plan) const {
        for (;;) {
            const Ref root = ref >= 0 ? plan.root[ref] : ref;
            if (root < 0) return input_failure_[~root];
            if (node_failure_[root] || plan.nodes[root].op != Op::transpose) return node_failure_[root];
            ref = plan.nodes[root].inputs[0];
        }
    }

    // A step does not run if something it reads does not exist, if a fault was ordered, or if the executor is to stop.
    Failure* reason_not_to(const Step& step, Run* run, const Plan& plan) {
        for (int32_t i : step.operations) {
            for (Ref ref : plan.nodes[i].inputs)
                if (Failure* failure = failure_of(ref, plan)) return failure;
        }
        if (faults_armed()) {
            FailureKind kind;
            for (int32_t i : step.operations)
                if (take_fault(plan.nodes[i].op, &kind)) return own(describe(kind, step.operations, run, plan));
        }
        if (aborting_.load(std::memory_order_relaxed))
            return own(new Failure(FailureKind::dropped, "the work was dropped: the program is ending"));
        return nullptr;
    }

    static Failure* describe(FailureKind kind, const std::vector<int32_t>& operations, Run* run, const Plan& plan) {
        auto* failure = new Failure(kind, kind == FailureKind::out_of_memory ? "out of memory" : "a fault was injected");
        for (int32_t i : operations)
            failure->origins.push_back({static_cast<uint16_t>(plan.nodes[i].op), run->sites[i]});
        return failure;
    }

    Failure* out_of_memory(Run* run, const Plan& plan) {
        size_t bytes = plan.arena_bytes;
        std::vector<int32_t> operations;
        for (const PlanOutput& output : plan.outputs) {
            if (output.alias_input >= 0 || output.alias_output >= 0) continue;
            bytes += output.bytes;
            operations.push_back(output.node);
        }
        Failure* failure = describe(FailureKind::out_of_memory, operations, run, plan);
        const MemoryInfo info = memory_info();
        failure->message = "out of memory: the plan needs " + std::to_string(bytes) + " bytes, " +
                           std::to_string(info.in_use) + " are in use" +
                           (info.limit ? ", the limit is " + std::to_string(info.limit) : std::string());
        return own(failure);
    }

    Failure* own(Failure* failure) {
        owned_failures_.push_back(failure);
        return failure;
    }
    void fail_output(size_t k, Failure* failure) {
        if (result_.buffers[k]) result_.buffers[k]->release();
        result_.buffers[k] = nullptr;
        result_.failures[k] = failure;
    }
    void fail_all(Run* run, Failure* failure) {
        for (size_t k = 0; k < run->outputs.size(); ++k) fail_output(k, failure);
    }

    const KernelTable& kernels_;
    void (*const on_idle_)();
    std::unique_ptr<Region> region_ = std::make_unique<Region>();
    std::mutex mutex_;
    std::condition_variable wake_, quiet_;
    std::deque<Run*> queue_;
    std::thread thread_;
    std::atomic<int> backlog_{0}, sleeping_{0};
    std::atomic<bool> quiesce_{false}, aborting_{false}, idle_{true};
    bool started_ = false, attached_ = false, stopping_ = false, busy_ = false, paused_ = false;

    // The run in hand.
    Plan* plan_ = nullptr;
    RunResult result_;
    Buffer* arena_ = nullptr;
    std::vector<Buffer*> input_;
    std::vector<Failure*> input_failure_, node_failure_, owned_failures_, held_failures_;
    std::vector<char> donated_;
    std::vector<double> scalars_;
};

}  // namespace

std::unique_ptr<Executor> make_cpu_executor(const KernelTable& kernels, void (*on_idle)()) {
    return std::make_unique<CpuExecutor>(kernels, on_idle);
}

}  // namespace owl
