#include "recorder.h"

#include <cassert>
#include <memory>
#include <new>

namespace owl {
namespace {

// Nothing has changed if there is no memory.
Node* make(const Draft& draft, Node* const* inputs, RecordingStream* stream) {
    assert(draft.n_attributes == attribute_words(draft.op));
    std::unique_ptr<Node*[]> more;
    if (draft.n_inputs > kInlineInputs) {
        more.reset(new (std::nothrow) Node*[draft.n_inputs]);
        if (!more) return nullptr;
    }
    Node* node = graph().create();
    node->more_inputs = more.release();
    node->op = draft.op;
    node->dtype = draft.dtype;
    node->state = State::recorded;
    node->device = draft.device;
    node->runner = draft.device;
    if (draft.op == Op::to_device)
        node->runner = static_cast<uint16_t>(graph().runner_of_transfer(inputs[0]->device, draft.device));
    node->site = draft.site;
    node->stream = stream;
    node->shape = draft.shape;
    node->n_bytes = static_cast<uint64_t>(draft.shape.size()) * dtype_size(draft.dtype);
    node->shape_hash = hash_shape(node->shape, node->dtype);
    node->scalar_mask = draft.scalar_mask;
    node->n_scalars = draft.n_scalars;
    if (draft.n_scalars) std::memcpy(node->scalar, draft.scalar, sizeof draft.scalar);
    node->n_attributes = draft.n_attributes;
    if (draft.n_attributes) std::memcpy(node->attribute, draft.attribute, sizeof draft.attribute);
    node->n_arguments = draft.n_arguments;
    if (draft.n_arguments) std::memcpy(node->argument, draft.argument, sizeof draft.argument);
    uint64_t signature = mix(static_cast<uint64_t>(draft.op) | static_cast<uint64_t>(draft.device) << 16 |
                                 static_cast<uint64_t>(draft.scalar_mask) << 32,
                             node->shape_hash);
    for (uint32_t i = 0; i < draft.n_inputs; ++i) signature = mix(signature, inputs[i]->shape_hash);
    for (int i = 0; i < draft.n_attributes; ++i) signature = mix(signature, static_cast<uint64_t>(draft.attribute[i]));
    node->signature = signature;
    graph().set_inputs(node, inputs, static_cast<int>(draft.n_inputs));
    return node;
}

void append(Node* node, RecordingStream* stream) {
    graph().hold(node);
    stream->open.push_back(node);
    stream->open_bytes += node->bytes();
}

// Tells the stream's detector of a node; it may find that a new window begins.
void watch(Node* node, RecordingStream* stream) {
    const uint64_t cut = stream->detector.feed(node);
    if (cut) stream->cut = cut;
    if (cut || (!stream->waiting.empty() && stream->waiting.front().known && stream->waiting.front().settled()))
        stream->attention = true;
    if (stream->open.size() >= window_bounds().nodes.load(std::memory_order_relaxed) ||
        stream->open_bytes >= window_bounds().bytes.load(std::memory_order_relaxed))
        stream->attention = true;
}

// The first stream among those of the inputs of which it is not known whether its task has ended.
RecordingStream* find_owner_unknown(Node* const* inputs, uint32_t count, const RecordingStream* stream) {
    for (uint32_t i = 0; i < count; ++i) {
        const Node* input = inputs[i];
        if (input->state == State::recorded && input->stream != stream && input->stream->holder && !input->stream->abandoned())
            return input->stream;
    }
    return nullptr;
}

// What a finished task or thread recorded and never submitted moves into the window of the code that uses it.
void adopt(Node* const* inputs, uint32_t count, RecordingStream* stream) {
    bool adopted = false;
    for (uint32_t i = 0; i < count; ++i) {
        Node* input = inputs[i];
        if (input->state != State::recorded || input->stream == stream || !input->stream->abandoned()) continue;
        std::vector<Node*> family;
        graph().ancestors(&input, 1, &family);
        for (Node* node : family) {
            if (node->stream == stream || !node->stream->abandoned() || node->rematerializable) continue;
            node->stream = stream;  // the old stream lets go of it when it is swept
            node->position = 0;
            append(node, stream);
            adopted = true;
        }
    }
    // Something in the window may have read them while their stream was not an orphan yet.
    if (adopted) sort_by_sequence(&stream->open);
}

// The value of `source` on the device of `draft`, copied there once.
Node* copy_to_device(Node* source, const Draft& draft, RecordingStream* stream) {
    if (Node* copy = graph().copy_on(source, draft.device)) return copy;
    Draft transfer;
    transfer.op = Op::to_device;
    transfer.dtype = source->dtype;
    transfer.device = draft.device;
    transfer.site = draft.site;
    transfer.shape = source->shape;
    transfer.n_inputs = 1;
    Node* copy = make(transfer, &source, stream);
    graph().link_copy(source, copy);
    append(copy, stream);
    watch(copy, stream);
    return copy;
}

}  // namespace

bool Draft::reserve(uint32_t inputs) {
    try {
        if (inputs > kInlineInputs) many_inputs.reserve(inputs);
    } catch (const std::bad_alloc&) {
        return false;
    }
    return true;
}

Node* record(const Draft& draft, RecordingStream* stream, RecordingStream** owner_unknown) {
    std::lock_guard<GraphLock> guard(graph().mutex);
    const bool many = draft.n_inputs > kInlineInputs;
    if (owner_unknown) *owner_unknown = nullptr;
    Node* const* inputs = many ? draft.many_inputs.data() : draft.inline_input;
    if (owner_unknown && (*owner_unknown = find_owner_unknown(inputs, draft.n_inputs, stream))) return nullptr;
    adopt(inputs, draft.n_inputs, stream);
    bool elsewhere = false;
    for (uint32_t i = 0; i < draft.n_inputs; ++i) elsewhere = elsewhere || inputs[i]->device != draft.device;
    Node* node;
    if (elsewhere && draft.op != Op::to_device) {
        std::vector<Node*> here(inputs, inputs + draft.n_inputs);
        for (Node*& input : here)
            if (input->device != draft.device) input = copy_to_device(input, draft, stream);
        node = make(draft, here.data(), stream);
    } else {
        node = make(draft, inputs, stream);
    }
    if (!node) return nullptr;
    graph().add_handle(node);
    append(node, stream);
    watch(node, stream);
    return node;
}

Node* record_leaf(const Shape& shape, DType dtype, int device, uint32_t site, Buffer* buffer, RecordingStream* stream) {
    std::lock_guard<GraphLock> guard(graph().mutex);
    Draft draft;
    draft.op = Op::leaf;
    draft.dtype = dtype;
    draft.device = static_cast<uint16_t>(device);
    draft.site = site;
    draft.shape = shape;
    Node* node = make(draft, nullptr, stream);
    node->buffer = buffer;
    node->state = buffer ? State::done : State::submitted;
    node->parked = !buffer;
    graph().add_handle(node);
    stream->open_bytes += node->bytes();  // what waits to be read is held as well
    watch(node, stream);
    return node;
}

}  // namespace owl
