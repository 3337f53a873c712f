#include "liveness.h"

namespace owl {

void LivenessHistory::expect(ClosedWindow* window) {
    const std::vector<char>* live = live_.find(window->hash);
    window->known = live && live->size() == window->nodes.size();
    if (!window->known) return;
    for (size_t i = 0; i < live->size(); ++i)
        if (!(*live)[i]) window->expected_dead.push_back(static_cast<uint32_t>(i));
}

void LivenessHistory::remember(const ClosedWindow& window) {
    std::vector<char>& live = live_[window.hash];
    live.resize(window.nodes.size());
    for (size_t i = 0; i < live.size(); ++i) live[i] = window.sees(i);
}

}  // namespace owl
