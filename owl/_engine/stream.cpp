#include "stream.h"

#include <algorithm>

namespace owl {
namespace {

bool visible(const Node* node, uint32_t readers_inside) { return node->handles > 0 || node->readers > readers_inside; }

std::vector<uint32_t> count_readers_inside(const std::vector<Node*>& nodes) {
    const uint64_t mark = graph().new_mark();
    std::vector<uint32_t> inside(nodes.size(), 0);
    for (size_t i = 0; i < nodes.size(); ++i) {
        nodes[i]->mark = mark;
        nodes[i]->index = static_cast<int32_t>(i);
        for (uint32_t k = 0; k < nodes[i]->n_inputs; ++k) {
            const Node* input = nodes[i]->inputs()[k];
            if (input->mark == mark) ++inside[input->index];
        }
    }
    return inside;
}

}  // namespace

WindowBounds& window_bounds() {
    static WindowBounds bounds;
    return bounds;
}

bool ClosedWindow::settled() {
    while (checked < expected_dead.size()) {
        const uint32_t i = expected_dead[checked];
        if (nodes[i]->state == State::recorded && visible(nodes[i], readers_inside[i])) return false;
        ++checked;
    }
    return true;
}

void RecordingStream::note_demand() {
    detector.demand();
    last_demand = detector.recorded() + 1;
}

void RecordingStream::note_cut(uint64_t place) {
    tails[0] = tails[1];
    tails[1] = last_demand ? place - std::min(place, last_demand) : 1;
    rounds[0] = rounds[1];
    rounds[1] = place - 1 - round_start;
    round_start = place - 1;
}

const std::vector<bool>* Expectations::find(uint64_t hash) const {
    auto found = live_.find(hash);
    return found == live_.end() ? nullptr : &found->second;
}

void Expectations::remember(uint64_t hash, std::vector<bool> live) {
    constexpr size_t kCapacity = 2048;
    if (live_.size() >= kCapacity && !live_.count(hash)) live_.erase(live_.begin());
    live_[hash] = std::move(live);
}

void close(ClosedWindow* window, const Expectations& expectations) {
    uint64_t hash = window->nodes.size();
    for (const Node* node : window->nodes) hash = mix(hash, node->signature);
    window->hash = hash;
    const std::vector<bool>* live = expectations.find(hash);
    window->known = live && live->size() == window->nodes.size();
    if (!window->known) return;
    window->readers_inside = count_readers_inside(window->nodes);
    for (size_t i = 0; i < live->size(); ++i)
        if (!(*live)[i]) window->expected_dead.push_back(static_cast<uint32_t>(i));
}

void sort_by_sequence(std::vector<Node*>* nodes) {
    std::sort(nodes->begin(), nodes->end(), [](const Node* a, const Node* b) { return a->sequence < b->sequence; });
}

std::vector<bool> live_mask(const std::vector<Node*>& nodes) {
    const std::vector<uint32_t> inside = count_readers_inside(nodes);
    std::vector<bool> live(nodes.size());
    for (size_t i = 0; i < nodes.size(); ++i)
        live[i] = nodes[i]->state == State::recorded && visible(nodes[i], inside[i]);
    return live;
}

}  // namespace owl
