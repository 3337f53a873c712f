// The dataflow graph: nodes, their readers, and what happens after the last of those.
//
// One lock guards the whole graph. It is held for a few instructions at a time, never while computing, and never where
// Python could allocate, decref or collect: garbage collection drops handles, and dropping a handle takes this lock.
#pragma once
#include <vector>

#include "lock.h"
#include "node.h"

namespace owl {

class Graph {
   public:
    GraphLock mutex;

    // Everything below expects the lock to be held.
    Node* create();
    void hold(Node* node) { ++node->references; }
    void unhold(Node* node) {
        if (--node->references == 0) free_node(node);
    }
    void set_inputs(Node* node, Node* const* inputs, int count);
    void add_handle(Node* node) {
        ++node->handles;
        hold(node);
    }
    void drop_handle(Node* node) {
        --node->handles;
        if (!node->live()) abandon(node);
        unhold(node);
    }
    // The operation is under way or will never be: it needs its inputs no longer. (A run pins those it reads.)
    void release_inputs(Node* node);
    void pin(Node* node) {
        ++node->pins;
        hold(node);
    }
    void unpin(Node* node) {
        --node->pins;
        if (!node->live()) abandon(node);
        unhold(node);
    }
    // The value will lie in this buffer: what its device does from now on comes after. Takes over the reference.
    void issue(Node* node, Buffer* buffer);
    // The value exists, in this buffer (takes over the reference) or in that which it was issued with.
    void complete(Node* node, Buffer* buffer);
    void complete(Node* node);
    void fail(Node* node, Failure* failure);    // adds a reference to the failure
    void add_waiter(Node* node, Waiter* waiter);
    void remove_waiter(Node* node, Waiter* waiter);

    uint64_t new_mark() { return ++mark_; }
    // The recorded nodes that must run so that `targets` exist, in the order of recording.
    void ancestors(Node* const* targets, int count, std::vector<Node*>* out);

    // The memory of each device. A device is added once and for all.
    void add_device(int device, Memory* memory);
    Memory& memory_of(int device) const { return *memories_[static_cast<size_t>(device)]; }
    // The device that carries a value from one to another: a host's memory is filled by the other device.
    int runner_of_transfer(int from, int to) const;

    Node* copy_on(Node* source, int device);
    void link_copy(Node* source, Node* copy);

    void trim();  // gives memory of which no node is in use back to the system

    int64_t live_nodes() const { return live_nodes_; }
    uint64_t next_sequence() { return ++sequence_; }

   private:
    void abandon(Node* node);
    bool may_free_early(const Node* node) const;
    void free_node(Node* node);

    static constexpr int kSlab = 128;
    std::vector<Node*> slabs_;
    std::vector<Node*> free_;
    std::vector<Node*> worklist_;
    std::vector<Memory*> memories_;
    uint64_t mark_ = 0;
    uint64_t sequence_ = 0;
    int64_t live_nodes_ = 0;
};

extern Graph* const graph_instance;  // never destroyed: threads and handles may outlive static destructors
inline Graph& graph() { return *graph_instance; }

}  // namespace owl
