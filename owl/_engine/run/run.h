// A run: one execution of a plan, with the values that it works on.
#pragma once
#include <memory>

#include "_engine/graph/graph.h"
#include "_engine/plan/plan_cache.h"

namespace owl {

class Executor;
struct Run;

// A run that needs a promised value, or one from another device, waits beside the executor's queue, not in it.
struct Dependency : Waiter {
    Run* run = nullptr;
    Node* node = nullptr;
};

struct Run {
    std::shared_ptr<Plan> plan;
    std::vector<Node*> inputs;   // pinned; nullptr once let go of early, where memory is short
    std::vector<Node*> outputs;  // held
    std::vector<double> scalars;
    std::vector<int64_t> arguments;
    std::vector<uint32_t> sites;  // by the plan's nodes
    std::vector<Dependency> dependencies;
    int unresolved = 0;
    bool begun = false;  // its executor has taken it from the queue
    bool issued = false;  // the outputs have buffers, or failures, but do not exist yet
    uint16_t device = 0;
    Executor* executor = nullptr;  // of that device
    // Instead of a plan: the host's memory that becomes the value of the one output, or memory of the device that is the value
    // once the device has come to it.
    Buffer* upload = nullptr;
    std::vector<Buffer*> unwanted;  // another memory's, which the device will still write
    size_t position = 0;  // in the list of live runs
    uint64_t number = 0;  // in the order of submitting
};

// Under the graph's lock. One execution of the nodes that `key` describes, which count as submitted from now on.
Run* make_run(const Canonical& key, const std::vector<Node*>& nodes, Executor* executor);
// Under the graph's lock. The plan by which it is executed, and with it the outputs.
void give_plan(Run* run, const std::vector<Node*>& nodes, std::shared_ptr<Plan> plan);
// Under the graph's lock. Fills a leaf that was recorded without a value from `staged`, whose reference it takes over.
Run* make_upload(Node* leaf, Buffer* staged, Executor* executor);
// Runs that are over are used again, with the room that they have.
void recycle_run(Run* run);

// Under the graph's lock. Ends a run: gives its outputs a value or a failure, and lets go of its inputs.
struct RunResult {
    std::vector<Buffer*> buffers;    // by output; nullptr where there is a failure
    std::vector<Failure*> failures;  // by output
};
void finish_run(Run* run, RunResult* result);
// Under the graph's lock, where a device begins runs before those ahead of them have ended. Gives the outputs buffers, or
// failures, and lets go of inputs that are `memory`'s own: what the device does with these from now on comes after.
void issue_run(Run* run, RunResult* result, const Memory& memory);
// Ends a run that was issued.
void finish_run(Run* run);
// Likewise, where the device could not do it.
void fail_run(Run* run, Failure* failure);

// Under the graph's lock. Counts what the run must wait for and registers for it; true if the run may be queued at once.
bool await_dependencies(Run* run);
// Under the graph's lock. One thing that it has waited for is there: queues it if that was the last.
void resolve_one(Run* run);

// Threads that wait for room or for an end of all work. Wakes them after every run.
class Progress {
   public:
    uint64_t count() { return count_.load(std::memory_order_acquire); }
    void advance();  // under the graph's lock
    // Returns when the count is no longer `seen`, or after a while.
    void wait(uint64_t seen, int milliseconds);
    // Under the graph's lock: told once, after the next run that ends, with no node.
    void add_waiter(Waiter* waiter);
    void remove_waiter(Waiter* waiter);
    void reset_after_fork();

   private:
    struct State;
    State* state();
    std::atomic<uint64_t> count_{0};
    std::atomic<int> waiting_{0};
    std::atomic<State*> state_{nullptr};
    Waiter* waiters_ = nullptr;  // guarded by the graph's lock
};
Progress& progress();

// A thread that waits for one node.
struct ThreadWaiter : Waiter {
    ThreadWaiter();
    ~ThreadWaiter();
    ThreadWaiter(const ThreadWaiter&) = delete;
    // True once notified, maybe while the notifier is still inside `notify`: it holds the graph's lock, so the one that has
    // taken that since may delete the waiter. False after `milliseconds` without.
    bool wait(int milliseconds);
    struct State;
    State* state;
    bool spun = false;  // only the first wait spins
};

int64_t live_runs();
// Under the graph's lock. How many runs were submitted so far, and whether one of the first `count` is not finished yet.
uint64_t runs_submitted();
bool any_run_within(uint64_t count);
// Under the graph's lock. Whether a run of a smaller number is in an executor's hands, and so will end.
bool any_begun_before(uint64_t number);
// Under the graph's lock. Whether a run that was submitted earlier, to another executor, ends without waiting for `self`.
bool any_ahead_of(const Run* self);
// In a forked child, under the graph's lock: what was under way will never be executed.
void fail_runs_after_fork(Failure* failure);

}  // namespace owl
