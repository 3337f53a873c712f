#include "run.h"

#include <chrono>
#include <condition_variable>

#include "executor.h"
#include "spin.h"

namespace owl {
namespace {

std::atomic<int64_t> runs{0};
std::vector<Run*>& run_list() {  // guarded by the graph's lock
    static auto* list = new std::vector<Run*>;
    return *list;
}
std::vector<Run*>& spare_runs() {  // likewise
    static auto* list = new std::vector<Run*>;
    return *list;
}
uint64_t submitted = 0;  // guarded by the graph's lock

Run* take_run() {
    auto& spare = spare_runs();
    if (spare.empty()) return new Run;
    Run* run = spare.back();
    spare.pop_back();
    return run;
}

void resolve(Waiter* waiter, Node*) { resolve_one(static_cast<Dependency*>(waiter)->run); }

// The run that makes this value is about to be queued. Those of the same executor that wait for it can follow: were they to
// wait until it exists, a chain of them would stay outside the queue, where recording does not see how far it is ahead.
void release_dependents(Node* output, std::vector<Run*>* ready) {
    for (Waiter** link = &output->waiters; *link;) {
        Waiter* waiter = *link;
        if (waiter->notify != resolve || static_cast<Dependency*>(waiter)->run->device != output->runner) {
            link = &waiter->next;
            continue;
        }
        *link = waiter->next;
        waiter->next = nullptr;
        Run* dependent = static_cast<Dependency*>(waiter)->run;
        if (--dependent->unresolved == 0) ready->push_back(dependent);
    }
}

// Earlier runs of the same executor come first anyhow.
bool must_exist_first(const Node* input, const Run* run) {
    return input->state == State::submitted && (input->parked || input->runner != run->device);
}

void end_run(Run* run) {
    for (Node* output : run->outputs) graph().unhold(output);
    for (Node* input : run->inputs)
        if (input) graph().unpin(input);
    run_list().back()->position = run->position;
    run_list()[run->position] = run_list().back();
    run_list().pop_back();
    runs.fetch_sub(1, std::memory_order_relaxed);
    progress().advance();
}

}  // namespace

Run* make_run(const Canonical& key, const std::vector<Node*>& nodes, Executor* executor) {
    Run* run = take_run();
    run->device = nodes[0]->runner;
    run->executor = executor;
    run->inputs = key.inputs();
    run->sites.resize(nodes.size());
    size_t i = 0;
    for (Node* node : nodes) {
        if (node->n_scalars) run->scalars.insert(run->scalars.end(), node->scalar, node->scalar + node->n_scalars);
        if (node->n_arguments)
            run->arguments.insert(run->arguments.end(), node->argument, node->argument + node->n_arguments);
        run->sites[i++] = node->site;
        node->state = State::submitted;
    }
    return run;
}

void give_plan(Run* run, const std::vector<Node*>& nodes, std::shared_ptr<Plan> plan) {
    graph().mutex.assert_held();
    for (const PlanOutput& output : plan->outputs) {
        run->outputs.push_back(nodes[output.node]);
        graph().hold(nodes[output.node]);
    }
    run->plan = std::move(plan);
}

Run* make_upload(Node* leaf, Buffer* staged, Executor* executor) {
    graph().mutex.assert_held();
    Run* run = take_run();
    run->device = leaf->runner;
    run->executor = executor;
    run->upload = staged;
    run->sites.assign(1, leaf->site);
    run->outputs.push_back(leaf);
    graph().hold(leaf);
    leaf->parked = false;
    return run;
}

void recycle_run(Run* run) {
    graph().mutex.assert_held();
    if (run->upload) run->upload->release();
    run->upload = nullptr;
    for (Buffer* buffer : run->unwanted) buffer->release();
    run->unwanted.clear();
    constexpr size_t kSpare = 64, kLargest = 4096;
    if (spare_runs().size() >= kSpare || run->sites.capacity() > kLargest) {
        delete run;
        return;
    }
    run->plan.reset();
    run->inputs.clear();
    run->outputs.clear();
    run->scalars.clear();
    run->arguments.clear();
    run->sites.clear();
    run->dependencies.clear();
    run->unresolved = 0;
    run->begun = run->issued = false;
    spare_runs().push_back(run);
}

int64_t live_runs() { return runs.load(std::memory_order_relaxed); }

uint64_t runs_submitted() { return submitted; }

bool any_run_within(uint64_t count) {
    for (const Run* run : run_list())
        if (run->number <= count) return true;
    return false;
}

bool any_begun_before(uint64_t number) {
    for (const Run* run : run_list())
        if (run->number < number && !run->unresolved) return true;
    return false;
}

bool any_ahead_of(const Run* self) {
    // Waits must follow the order of submitting, or two executors might wait for each other: a run counts once it has
    // begun, or if nothing keeps its executor from beginning it. One that became ready late lies behind a later one, maybe
    // behind the one that asks.
    std::vector<char> at_work;
    for (const Run* run : run_list()) {
        if (!run->begun) continue;
        if (run->device >= at_work.size()) at_work.resize(run->device + size_t{1}, 0);
        at_work[run->device] = 1;
    }
    for (const Run* run : run_list()) {
        if (run->number >= self->number || run->unresolved || run->device == self->device) continue;
        if (run->begun || run->device >= at_work.size() || !at_work[run->device]) return true;
    }
    return false;
}

bool await_dependencies(Run* run) {
    graph().mutex.assert_held();
    runs.fetch_add(1, std::memory_order_relaxed);
    run->position = run_list().size();
    run->number = ++submitted;
    run_list().push_back(run);
    for (Node* input : run->inputs) {
        graph().pin(input);
        if (must_exist_first(input, run)) ++run->unresolved;
    }
    for (Node* output : run->outputs) output->parked = run->unresolved > 0;
    if (!run->unresolved) return true;
    run->dependencies.resize(run->unresolved);
    auto dependency = run->dependencies.begin();
    for (Node* input : run->inputs) {
        if (!must_exist_first(input, run)) continue;
        dependency->run = run;
        dependency->node = input;
        dependency->notify = resolve;
        graph().add_waiter(input, &*dependency++);
    }
    return false;
}

void resolve_one(Run* run) {
    graph().mutex.assert_held();
    if (--run->unresolved) return;
    std::vector<Run*> ready{run};
    for (size_t i = 0; i < ready.size(); ++i) {
        run = ready[i];
        for (Node* output : run->outputs) {
            output->parked = false;
            release_dependents(output, &ready);
        }
        run->executor->submit(run);
    }
}

void finish_run(Run* run, RunResult* result) {
    graph().mutex.assert_held();
    for (size_t k = 0; k < run->outputs.size(); ++k) {
        Node* node = run->outputs[k];
        if (node->pending()) {
            if (result->buffers[k])
                graph().complete(node, result->buffers[k]);
            else
                graph().fail(node, result->failures[k]);
        } else if (result->buffers[k]) {
            result->buffers[k]->release();
        }
    }
    end_run(run);
}

void issue_run(Run* run, RunResult* result, const Memory& memory) {
    graph().mutex.assert_held();
    run->issued = true;
    for (size_t k = 0; k < run->outputs.size(); ++k) {
        Node* node = run->outputs[k];
        if (!result->buffers[k])
            graph().fail(node, result->failures[k]);
        else if (node->pending())
            graph().issue(node, result->buffers[k]);
        else if (result->buffers[k]->memory == &memory)
            result->buffers[k]->release();
        else
            run->unwanted.push_back(result->buffers[k]);
    }
    for (Node*& input : run->inputs) {
        if (!input || !input->buffer || input->buffer->borrowed() || input->buffer->memory != &memory) continue;
        graph().unpin(input);
        input = nullptr;
    }
}

void finish_run(Run* run) {
    graph().mutex.assert_held();
    for (Node* node : run->outputs)
        if (node->issued) graph().complete(node);
    end_run(run);
}

void fail_run(Run* run, Failure* failure) {
    graph().mutex.assert_held();
    for (Node* node : run->outputs)
        if (node->issued) graph().fail(node, failure);
    end_run(run);
}

void fail_runs_after_fork(Failure* failure) {
    graph().mutex.assert_held();
    // Waiters belong to threads that are no more, or to these runs.
    for (Run* run : run_list())
        for (Node* output : run->outputs) output->waiters = nullptr;
    for (Run* run : run_list())
        for (Node* input : run->inputs)
            if (input) input->waiters = nullptr;
    std::vector<Run*> lost;
    lost.swap(run_list());
    for (Run* run : lost) {
        for (Node* output : run->outputs) {
            graph().fail(output, failure);  // of an issued one, what its device was to do is lost with its threads
            graph().unhold(output);
        }
        for (Node* input : run->inputs)
            if (input) graph().unpin(input);
        recycle_run(run);
    }
}

// ------------------------------------------------------------------------------------------------------------ waiting

struct Progress::State {
    std::mutex mutex;
    std::condition_variable changed;
};

Progress& progress() {
    static auto* instance = new Progress;
    return *instance;
}

Progress::State* Progress::state() {
    State* state = state_.load(std::memory_order_acquire);
    if (state) return state;
    auto* fresh = new State;
    if (state_.compare_exchange_strong(state, fresh)) return fresh;
    delete fresh;
    return state;
}

void Progress::advance() {
    count_.fetch_add(1, std::memory_order_seq_cst);
    notify_waiters(&waiters_, nullptr);
    if (!waiting_.load(std::memory_order_seq_cst)) return;
    { std::lock_guard<std::mutex> guard(state()->mutex); }
    state()->changed.notify_all();
}

void Progress::wait(uint64_t seen, int milliseconds) {
    std::unique_lock<std::mutex> lock(state()->mutex);
    waiting_.fetch_add(1, std::memory_order_seq_cst);
    state()->changed.wait_for(lock, std::chrono::milliseconds(milliseconds), [&] { return count() != seen; });
    waiting_.fetch_sub(1, std::memory_order_seq_cst);
}

void Progress::add_waiter(Waiter* waiter) {
    waiter->next = waiters_;
    waiters_ = waiter;
}

void Progress::remove_waiter(Waiter* waiter) { unlink_waiter(&waiters_, waiter); }

void Progress::reset_after_fork() {
    waiters_ = nullptr;
    state_.store(nullptr);  // leaked: its mutex may be held by a thread that is no more
    waiting_.store(0);
    runs.store(0);
}

struct ThreadWaiter::State {
    std::mutex mutex;
    std::condition_variable changed;
    std::atomic<bool> done{false};
};

namespace {
void wake_thread(Waiter* waiter, Node*) {
    auto* self = static_cast<ThreadWaiter*>(waiter);
    std::lock_guard<std::mutex> guard(self->state->mutex);
    self->state->done.store(true, std::memory_order_release);
    // Under the lock, so that a thread between its last look and its sleep does not miss it.
    self->state->changed.notify_one();
}
}  // namespace

ThreadWaiter::ThreadWaiter() : state(new State) { notify = wake_thread; }
ThreadWaiter::~ThreadWaiter() { delete state; }

// Spins for a moment before it sleeps: waking up takes longer than most small plans.
bool ThreadWaiter::wait(int milliseconds) {
    auto done = [this] { return state->done.load(std::memory_order_acquire); };
    if (spun ? done() : spin(done)) return true;
    spun = true;
    std::unique_lock<std::mutex> lock(state->mutex);
    return state->changed.wait_for(lock, std::chrono::milliseconds(milliseconds), done);
}

}  // namespace owl
