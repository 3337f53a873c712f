// A node: one recorded operation and the value it gives.
#pragma once
#include "failure.h"
#include "_engine/memory/buffer.h"
#include "operation.h"

namespace owl {

struct Node;
struct RecordingStream;

// Hears of a node's completion. `notify` runs under the graph's lock, on any thread: it may set
// flags, wake a thread or push to a ring, and must not take the GIL.
struct Waiter {
    Waiter* next = nullptr;
    void (*notify)(Waiter* self, Node* node) = nullptr;
};

// Both under the graph's lock. A list is emptied before its waiters are told: they may be gone afterwards, or be back.
inline void notify_waiters(Waiter** list, Node* node) {
    Waiter* waiter = *list;
    *list = nullptr;
    while (waiter) {
        Waiter* next = waiter->next;
        waiter->next = nullptr;
        waiter->notify(waiter, node);
        waiter = next;
    }
}
inline void unlink_waiter(Waiter** list, Waiter* waiter) {
    for (Waiter** link = list; *link; link = &(*link)->next) {
        if (*link == waiter) {
            *link = waiter->next;
            waiter->next = nullptr;
            return;
        }
    }
}

enum class State : uint8_t {
    recorded,   // in a window
    submitted,  // in an executor's hands, or promised
    done,       // the buffer holds the value
    failed,     // there will be no value; `failure` says why
    dead,       // can no longer be requested; never computed
};

constexpr int kInlineInputs = 3;
constexpr int kMaxScalars = 3;
constexpr int kMaxArguments = 3;

// All fields are guarded by the graph's lock, except those which are fixed once recorded (op to bytes, and inputs).
// Handing over a window walks its nodes several times: what every walk reads comes first, within two cache lines.
struct alignas(64) Node {
    Op op;
    DType dtype;
    State state;
    uint8_t n_scalars;
    uint8_t scalar_mask;  // bit i: operand i of an element-wise operation is a scalar
    uint8_t n_attributes;
    uint8_t n_arguments;
    bool parked;          // submitted, but not yet in its runner's queue (promised leaves: signalled by others)
    bool rematerializable;        // computed and used inside a plan, but not stored: read later, it is computed again
    uint16_t device;      // where the value lives
    uint32_t n_inputs;
    int32_t index;        // scratch of traversals: position in that traversal's list
    uint16_t runner;      // the device that computes it: another one only where a value is sent to the host's memory
    bool issued;          // submitted, and its runner has begun: later runs of that device may use `buffer` already
    bool compiling;       // submitted, and it is not known yet whether the plan will store the value
    uint64_t mark;        // scratch of traversals: the traversal that was here last
    uint64_t signature;   // hash of operation, attributes, shapes, dtype, device
    uint32_t references;  // handles + readers + windows and runs that hold a pointer; at 0 the node is freed
    uint32_t handles;     // Python NArrays
    uint32_t readers;     // recorded operations that need this value and are not under way yet
    uint32_t pins;        // runs under way that read the value

    Node** more_inputs;
    Node* inline_input[kInlineInputs];
    RecordingStream* stream;
    uint64_t sequence;    // order of recording in the process
    uint64_t position;    // order of recording in its stream, from 1
    uint64_t shape_hash;
    uint64_t n_bytes;     // of the value
    uint32_t site;
    Buffer* buffer;
    Failure* failure;
    Waiter* waiters;
    Node* copies;         // chain of this value's copies on other devices, linked by next_copy; they do not hold each other
    Node* next_copy;
    Node* copy_of;

    // Not cleared: only as much of it as the counts above say means anything.
    Shape shape;
    double scalar[kMaxScalars];   // not structure: given to the plan at each run
    int64_t argument[kMaxArguments];  // likewise
    int64_t attribute[kMaxAttributes];  // a struct of attributes.h, as words: part of a plan's key

    Node** inputs() { return more_inputs ? more_inputs : inline_input; }
    Node* const* inputs() const { return more_inputs ? more_inputs : inline_input; }
    bool pending() const { return state == State::recorded || state == State::submitted; }
    bool finished() const { return state == State::done || state == State::failed; }
    bool live() const { return handles || readers; }
    size_t bytes() const { return n_bytes; }
};

}  // namespace owl
