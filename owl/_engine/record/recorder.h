// Recording: turns a checked draft into a node of a stream's open window. Never computes, never allocates from Python.
#pragma once
#include "stream.h"

namespace owl {

// What the API knows of an operation once shapes and dtypes have been checked.
struct Draft {
    Op op;
    DType dtype;
    uint8_t scalar_mask = 0, n_scalars = 0, n_attributes = 0, n_arguments = 0;
    uint16_t device = 0;
    uint32_t site = 0;
    Shape shape;
    double scalar[kMaxScalars];
    int64_t attribute[kMaxAttributes];
    int64_t argument[kMaxArguments];
    uint32_t n_inputs = 0;
    Node* inline_input[kInlineInputs];
    std::vector<Node*> many_inputs;  // instead of inline_input, if there are more

    void add_scalar(int operand, double value) {
        scalar_mask |= static_cast<uint8_t>(1 << operand);
        scalar[n_scalars++] = value;
    }
    template <class Attributes>
    void set_attributes(const Attributes& attributes) {
        n_attributes = static_cast<uint8_t>(words_of<Attributes>());
        memcpy(attribute, &attributes, sizeof attributes);
    }
    void take_attributes(const Draft& other) {
        n_attributes = other.n_attributes;
        memcpy(attribute, other.attribute, sizeof attribute);
    }
    void add_argument(int64_t value) { argument[n_arguments++] = value; }
    // Before many inputs are added. False if there is no memory for so many.
    bool reserve(uint32_t inputs);
    Node* input(uint32_t k) const { return many_inputs.empty() ? inline_input[k] : many_inputs[k]; }
    void add_input(Node* node) {
        if (n_inputs < kInlineInputs) inline_input[n_inputs] = node;
        if (n_inputs >= kInlineInputs) {
            if (many_inputs.empty()) many_inputs.assign(inline_input, inline_input + kInlineInputs);
            many_inputs.push_back(node);
        }
        ++n_inputs;
    }
};

// Takes the graph's lock. The new node has one handle, which goes to the caller; nullptr if there is no memory for it.
//
// What a task that has ended recorded and never submitted moves into the window of the code that uses it. Whether a task has
// ended only Python knows: at a value of a task's that may have, nothing is recorded, `*owner_unknown` is its stream and the
// result nullptr. With `owner_unknown` null the task counts as alive.
Node* record(const Draft& draft, RecordingStream* stream, RecordingStream** owner_unknown);

// A leaf that exists (with a buffer) or is promised (without).
Node* record_leaf(const Shape& shape, DType dtype, int device, uint32_t site, Buffer* buffer, RecordingStream* stream);

}  // namespace owl
