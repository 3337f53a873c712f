#include "graph.h"

#include <algorithm>
#include <cassert>
#include <cstddef>

#include "_engine/memory/memory.h"

namespace owl {

Graph* const graph_instance = new Graph;

Node* Graph::create() {
    mutex.assert_held();
    if (free_.empty()) {
        const size_t nodes = (slabs_.size() + 1) * kSlab;
        if (free_.capacity() < nodes) free_.reserve(2 * nodes);  // so that freeing a node never allocates
        slabs_.push_back(nullptr);
        Node* slab = slabs_.back() = new Node[kSlab];
        for (int i = kSlab; i-- > 0;) free_.push_back(slab + i);
    }
    Node* node = free_.back();
    free_.pop_back();
    std::memset(static_cast<void*>(node), 0, offsetof(Node, shape));
    node->index = -1;
    node->sequence = next_sequence();
    ++live_nodes_;
    return node;
}

void Graph::trim() {
    mutex.assert_held();
    std::sort(slabs_.begin(), slabs_.end());
    std::sort(free_.begin(), free_.end());
    size_t kept_slabs = 0, kept_nodes = 0, next = 0;
    for (Node* slab : slabs_) {
        const size_t first = next;
        while (next < free_.size() && free_[next] < slab + kSlab) ++next;
        if (next - first == kSlab) {
            delete[] slab;
            continue;
        }
        slabs_[kept_slabs++] = slab;
        for (size_t i = first; i < next; ++i) free_[kept_nodes++] = free_[i];
    }
    slabs_.resize(kept_slabs);
    free_.resize(kept_nodes);
}

void Graph::free_node(Node* node) {
    mutex.assert_held();
    if (node->buffer) node->buffer->release();
    if (node->failure) node->failure->release();
    for (Node* copy = node->copies; copy; copy = copy->next_copy) copy->copy_of = nullptr;
    if (node->copy_of) {
        Node** link = &node->copy_of->copies;
        while (*link != node) link = &(*link)->next_copy;
        *link = node->next_copy;
    }
    delete[] node->more_inputs;
    --live_nodes_;
    free_.push_back(node);
}

void Graph::set_inputs(Node* node, Node* const* inputs, int count) {
    mutex.assert_held();
    if (count > kInlineInputs && !node->more_inputs) node->more_inputs = new Node*[count];
    Node** mine = node->inputs();
    for (int i = 0; i < count; ++i) {
        mine[i] = inputs[i];
        ++inputs[i]->readers;
        hold(inputs[i]);
    }
    node->n_inputs = count;
}

// Of an issued value, what its device does with its own memory from now on comes after what makes the value. Another memory
// is written only when the device comes to it.
bool Graph::may_free_early(const Node* node) const {
    return node->issued && node->buffer && node->buffer->memory == &memory_of(node->runner);
}

void Graph::abandon(Node* node) {
    mutex.assert_held();
    if (node->state == State::recorded) {
        node->state = State::dead;
        release_inputs(node);
    } else if ((node->state == State::done || may_free_early(node)) && node->buffer && !node->pins) {
        node->buffer->release();
        node->buffer = nullptr;
        if (!node->issued) node->state = State::dead;
    }
}

// Dead chains can be as long as a program's history, so this must not recurse.
void Graph::release_inputs(Node* node) {
    mutex.assert_held();
    const size_t bottom = worklist_.size();
    worklist_.push_back(node);
    hold(node);
    while (worklist_.size() > bottom) {
        Node* next = worklist_.back();
        worklist_.pop_back();
        Node** inputs = next->inputs();
        const uint32_t count = next->n_inputs;
        next->n_inputs = 0;
        for (uint32_t i = 0; i < count; ++i) {
            Node* input = inputs[i];
            --input->readers;
            if (!input->live() && input->state == State::recorded) {
                input->state = State::dead;
                worklist_.push_back(input);
                continue;  // its reference goes over to the worklist
            }
            if (!input->live()) abandon(input);
            unhold(input);
        }
        unhold(next);
    }
}

void Graph::issue(Node* node, Buffer* buffer) {
    mutex.assert_held();
    assert(node->state == State::submitted && !node->issued && !node->buffer);
    node->issued = true;
    node->buffer = buffer;
    if (!node->live()) abandon(node);
}

void Graph::complete(Node* node, Buffer* buffer) {
    mutex.assert_held();
    assert(node->state == State::submitted && !node->issued);
    node->state = State::done;
    node->buffer = buffer;
    notify_waiters(&node->waiters, node);
    if (!node->live()) abandon(node);
}

void Graph::complete(Node* node) {
    mutex.assert_held();
    assert(node->state == State::submitted && node->issued);
    node->issued = false;
    node->state = node->buffer ? State::done : State::dead;  // dead: no longer wanted once it was issued
    notify_waiters(&node->waiters, node);
    if (!node->live()) abandon(node);
}

void Graph::fail(Node* node, Failure* failure) {
    mutex.assert_held();
    if (!node->pending()) return;
    if (node->issued) {
        if (node->buffer) node->buffer->release();
        node->buffer = nullptr;
        node->issued = false;
    }
    node->state = State::failed;
    node->failure = failure->retain();
    release_inputs(node);
    notify_waiters(&node->waiters, node);
}

void Graph::add_waiter(Node* node, Waiter* waiter) {
    mutex.assert_held();
    waiter->next = node->waiters;
    node->waiters = waiter;
}

void Graph::remove_waiter(Node* node, Waiter* waiter) { unlink_waiter(&node->waiters, waiter); }

void Graph::ancestors(Node* const* targets, int count, std::vector<Node*>* out) {
    mutex.assert_held();
    const uint64_t mark = new_mark();
    out->clear();
    for (int i = 0; i < count; ++i) {
        if (targets[i]->state == State::recorded && targets[i]->mark != mark) {
            targets[i]->mark = mark;
            out->push_back(targets[i]);
        }
    }
    for (size_t next = 0; next < out->size(); ++next) {
        Node* node = (*out)[next];
        for (uint32_t i = 0; i < node->n_inputs; ++i) {
            Node* input = node->inputs()[i];
            if (input->state == State::recorded && input->mark != mark) {
                input->mark = mark;
                out->push_back(input);
            }
        }
    }
    std::sort(out->begin(), out->end(), [](const Node* a, const Node* b) { return a->sequence < b->sequence; });
}

void Graph::add_device(int device, Memory* memory) {
    mutex.assert_held();
    if (memories_.size() <= static_cast<size_t>(device)) memories_.resize(static_cast<size_t>(device) + 1);
    memories_[static_cast<size_t>(device)] = memory;
}

int Graph::runner_of_transfer(int from, int to) const {
    return memory_of(to).host && !memory_of(from).host ? from : to;
}

Node* Graph::copy_on(Node* source, int device) {
    mutex.assert_held();
    for (Node* copy = source->copies; copy; copy = copy->next_copy) {
        // A copy without readers left may be donated to the run that read it last: it must not come to life again. Nor must
        // one of which the plan that is being compiled may keep nothing.
        if (copy->device == device && copy->live() && !copy->compiling && (copy->pending() || copy->state == State::done))
            return copy;
    }
    return nullptr;
}

void Graph::link_copy(Node* source, Node* copy) {
    mutex.assert_held();
    copy->copy_of = source;
    copy->next_copy = source->copies;
    source->copies = copy;
}

}  // namespace owl
