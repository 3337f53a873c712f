#include "stream.h"

#include <algorithm>

namespace owl {
namespace {

bool stays(const Node* node, const RecordingStream* stream) {
    return node->state == State::recorded && node->stream == stream && !node->rematerializable;
}

}  // namespace

WindowBounds& window_bounds() {
    static WindowBounds bounds;
    return bounds;
}

void ClosedWindow::close(const RecordingStream* stream) {
    const uint64_t mark = graph().new_mark();
    size_t kept = 0;
    readers_inside.resize(nodes.size());
    hash = 0;
    for (Node* node : nodes) {
        if (!stays(node, stream)) {
            graph().unhold(node);
            continue;
        }
        nodes[kept] = node;
        node->mark = mark;
        node->index = static_cast<int32_t>(kept);
        readers_inside[kept++] = 0;
        hash = mix(hash, node->signature);
        for (uint32_t k = 0; k < node->n_inputs; ++k) {
            const Node* input = node->inputs()[k];  // recorded earlier, so it was met earlier
            if (input->mark == mark) ++readers_inside[input->index];
        }
    }
    nodes.resize(kept);
    readers_inside.resize(kept);
    hash = mix(hash, kept);
}

bool ClosedWindow::settled() {
    for (; checked < expected_dead.size(); ++checked)
        if (sees(expected_dead[checked])) return false;
    return true;
}

void RecordingStream::note_request() {
    detector.request();
    last_request = detector.recorded() + 1;
}

void RecordingStream::note_cut(uint64_t place) {
    tails[0] = tails[1];
    tails[1] = last_request ? place - std::min(place, last_request) : 1;
    rounds[0] = rounds[1];
    rounds[1] = place - 1 - round_start;
    round_start = place - 1;
}

const ClosedWindow* RecordingStream::waiting_window(const Node* node) const {
    for (const ClosedWindow& window : waiting)
        if (std::find(window.nodes.begin(), window.nodes.end(), node) != window.nodes.end()) return &window;
    return nullptr;
}

bool RecordingStream::reset() {
    constexpr size_t kRoom = 256;
    if (open.capacity() > kRoom || !detector.reset()) return false;
    RecordingStream fresh;
    open.clear();
    waiting.clear();
    rematerializable_nodes.clear();
    fresh.open.swap(open);
    fresh.waiting.swap(waiting);
    fresh.rematerializable_nodes.swap(rematerializable_nodes);
    std::swap(fresh.detector, detector);
    *this = std::move(fresh);
    return true;
}

void sort_by_sequence(std::vector<Node*>* nodes) {
    std::sort(nodes->begin(), nodes->end(), [](const Node* a, const Node* b) { return a->sequence < b->sequence; });
}

uint64_t purge(const RecordingStream* stream, Window* window) {
    uint64_t hash = 0;
    size_t kept = 0;
    for (Node* node : *window) {
        if (stays(node, stream)) {
            hash = mix(hash, node->signature ^ (node->handles ? 1 : 0));
            (*window)[kept++] = node;
        } else {
            graph().unhold(node);
        }
    }
    window->resize(kept);
    return mix(hash, kept);
}

}  // namespace owl
