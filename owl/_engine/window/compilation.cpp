#include "compilation.h"

#include <iterator>
#include <new>
#include <system_error>

#include "_engine/run/fault.h"
#include "_engine/run/thread.h"
#include "scheduler.h"

namespace owl {

// --------------------------------------------------------------------------------------------------------- the scheduler's

// The nodes' plan is not known: what makes a run of them is put off until the lock is let go of.
void Scheduler::begin_compilation(Run* run, const Window& nodes, bool unhold, uint64_t entry) {
    auto compilation = std::make_unique<Compilation>();
    compilation->plan = canonical_.begin_plan(nodes);
    compilation->plan->id = counters.plans;
    compilation->key = std::move(canonical_);
    canonical_ = Canonical();
    compilation->nodes = nodes;
    compilation->run = run;
    compilation->number = counters.plans;
    compilation->entry = entry;
    compilation->cleared = plans.cleared();
    compilation->fuse = fuse;
    compilation->undecided = compilation->key.may_rematerialize();
    await_dependencies(run);
    ++run->unresolved;  // the plan
    for (Node* node : nodes) {
        node->parked = true;
        node->compiling = true;
        if (!unhold) graph().hold(node);
    }
    compiling_.push_back(compilation->number);
    to_compile_.push_back(std::move(compilation));
}

void Scheduler::unlock_and_compile() {
    graph().mutex.assert_held();
    if (to_compile_.empty()) return graph().mutex.unlock();
    Compilations work;
    work.swap(to_compile_);
    graph().mutex.unlock();
    compile(std::move(work));
}

void Scheduler::compile(Compilations work) {
    for (size_t i = 0; i < work.size(); ++i) {
        Compilation* compilation = work[i].get();
        std::unique_lock<GraphLock> lock(graph().mutex);
        std::shared_ptr<Plan> plan = plans.find(compilation->key);
        const bool known = plan != nullptr;
        if (!known) {
            release(compilation);
            plan = std::move(compilation->plan);
            lock.unlock();
            wait_while_compilations_are_held();
            compilation->key.describe_nodes(compilation->nodes, plan.get());
            compile_plan(plan.get(), compilation->run->executor->backend(), compilation->fuse);
            lock.lock();
            if (std::shared_ptr<Plan> other = plans.find(compilation->key))
                plan = std::move(other);  // another thread was faster
            else if (plans.cleared() == compilation->cleared)
                plans.insert(plan);
        }
        decide(*compilation, plan, known);
        canonical_.take_room(&compilation->key);
        if (compilation->behind) --compilation->behind->compiling;
        compiling_.erase(std::find(compiling_.begin(), compiling_.end(), compilation->number));
        std::move(to_compile_.begin(), to_compile_.end(), std::back_inserter(work));
        to_compile_.clear();
        progress().advance();
    }
}

// Where the run is made, a large window has held the lock long enough.
void Scheduler::release(Compilation* compilation) {
    if (compilation->released || compilation->undecided) return;
    compilation->released = true;
    for (Node* node : compilation->nodes) node->compiling = false;
    release_nodes(compilation->nodes, false);
}

// The next window under the same lock: what it finds of the readers of its inputs is part of its key.
void Scheduler::release_last() {
    if (!to_compile_.empty()) release(to_compile_.back().get());
}

// The plan is known: the run goes on, and what the plan leaves over is recorded again.
void Scheduler::decide(Compilation& compilation, const std::shared_ptr<Plan>& plan, bool known) {
    const Window& nodes = compilation.nodes;
    Run* run = compilation.run;
    trace.set_plan(compilation.entry, plan, known);
    count_plan(*plan, known);
    give_plan(run, nodes, plan);
    Window missed;  // left over, and asked for meanwhile
    if (compilation.undecided) {
        for (int32_t number : plan->rematerializable_nodes) {
            Node* node = nodes[number];
            node->parked = false;
            if (!node->pins && !node->waiters) continue;
            missed.push_back(node);
            graph().add_handle(node);
        }
        leave_over(nodes, *plan);
        compilation.undecided = false;
    }
    release(&compilation);
    resolve_one(run);
    if (!missed.empty()) request(missed.data(), static_cast<int>(missed.size()), 0);
    for (Node* node : missed) graph().drop_handle(node);
    for (Node* node : nodes) graph().unhold(node);
}

bool Scheduler::any_compiling_within(uint64_t number) const {
    graph().mutex.assert_held();
    return std::any_of(compiling_.begin(), compiling_.end(), [&](uint64_t other) { return other <= number; });
}

void Scheduler::forget_compile_thread() { compile_thread_.forget(); }

// -------------------------------------------------------------------------------------------------------------- the thread

CompileThread::~CompileThread() {
    {
        std::lock_guard<std::mutex> guard(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
}

bool CompileThread::take(Compilations* work) {
    {
        std::lock_guard<std::mutex> guard(mutex_);
        if (!thread_.joinable()) {
            try {
                thread_ = start_quiet_thread([this] { loop(); });
            } catch (const std::system_error&) {
                return false;
            }
        }
        std::move(work->begin(), work->end(), std::back_inserter(work_));
    }
    work->clear();
    wake_.notify_one();
    return true;
}

void CompileThread::forget() {
    new (&mutex_) std::mutex;
    new (&wake_) std::condition_variable;
    if (thread_.joinable()) new (&thread_) std::thread;
}

void CompileThread::loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return !work_.empty() || stopping_; });
        if (work_.empty()) return;
        Compilations work;
        work.swap(work_);
        lock.unlock();
        scheduler_->compile(std::move(work));
        lock.lock();
    }
}

}  // namespace owl
