#include "history.h"

namespace owl {

bool WindowHistory::is_regular(uint64_t hash) {
    const bool known = seen_.find(hash);
    if (!known) seen_[hash] = true;
    known_ = (known_ << 1 | known) & 0xffff;
    if (count_ < 17) ++count_;
    return known || count_ < 17 || __builtin_popcount(known_) >= 12;
}

size_t chunk_end(const std::vector<Node*>& nodes, size_t begin) {
    constexpr size_t kShortest = 4, kLongest = 16;
    size_t end = begin;
    while (end < nodes.size()) {
        const Node* node = nodes[end++];
        const size_t length = end - begin;
        if (length >= kLongest || (length >= kShortest && (node->signature >> 9) % 4 == 0)) break;
    }
    return end;
}

}  // namespace owl
