// The way of a completion to an event loop: executor threads push to the loop's ring, and one descriptor wakes the loop.
#pragma once
#include <atomic>
#include <vector>

#include "run.h"

namespace owl {

class CompletionRing;

// One wait of one loop: for all of some nodes. It belongs to its owner, or, once abandoned, to the ring it lies in.
struct Completion {
    struct Part : Waiter {
        Completion* whole = nullptr;
        Node* node = nullptr;  // held
    };
    CompletionRing* ring = nullptr;
    void* owner = nullptr;       // who is to be told; nullptr: abandoned
    size_t missing = 0;          // nodes that have not finished; guarded by the graph's lock
    Completion* next = nullptr;  // in the ring
    std::vector<Part> parts;
};

// Any number of threads push, the loop's thread takes everything at once. The descriptor is written when the ring stops
// being empty, so that many completions cost one wake-up. Unbounded and without allocation: completions are the links.
class CompletionRing {
   public:
    CompletionRing();
    ~CompletionRing();
    CompletionRing(const CompletionRing&) = delete;

    // Readable while something waits to be taken; -1 if the system had no descriptor left.
    int descriptor() const { return read_end_; }

    // Under the graph's lock. nullptr if all nodes have finished.
    Completion* begin(void* owner, Node* const* nodes, size_t count);
    // Under the graph's lock: the owner wants to hear no more.
    static void abandon(Completion* completion);
    // Under the graph's lock: one wake-up after the next run that ends.
    void watch_progress();

    // Takes the graph's lock. In the order of completion; the caller deletes them. `progressed` tells that a watched run
    // has ended.
    Completion* take(bool* progressed);

    // In a forked child: the descriptor is shared with the parent's loop, which alone may read and write it.
    void forget_descriptor();

   private:
    static void part_finished(Waiter* waiter, Node* node);
    static void run_ended(Waiter* waiter, Node* node);
    static void release(Completion* completion);
    void push(Completion* completion);
    void wake();
    void clear();

    std::atomic<Completion*> head_{nullptr};
    Completion progress_;    // told after a run, not after a node
    bool watching_ = false;  // guarded by the graph's lock
    int read_end_ = -1;
    int write_end_ = -1;
};

}  // namespace owl
