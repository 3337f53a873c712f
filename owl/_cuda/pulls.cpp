#include "pulls.h"

#include <algorithm>

namespace owl {
namespace cuda {

Result Pulls::pull(void* to, const void* from, const Device& source, size_t bytes, bool busy) {
    open(source);
    if (busy)
        if (const Result error = computing_.order_before(device_.copy)) return error;
    const auto* begin = static_cast<const char*>(to);
    const Result error = device_.driver->copy_between(reinterpret_cast<Address>(to), device_.context,
                                                      reinterpret_cast<Address>(from), source.context, bytes, device_.copy);
    if (!error) under_way_.push_back({begin, begin + bytes});
    return error;
}

// Once for each GPU. Where access is refused, or another library has asked for it, copies work all the same: the driver takes
// them through pinned memory of its own.
void Pulls::open(const Device& source) {
    if (source.index == device_.index || std::count(opened_.begin(), opened_.end(), source.index)) return;
    opened_.push_back(source.index);
    int can = 0;
    if (!device_.driver->can_access_peer(&can, device_.index, source.index) && can)
        device_.driver->enable_peer_access(source.context, 0);
}

void Pulls::touch(const void* data, size_t bytes) {
    const auto* begin = static_cast<const char*>(data);
    for (const Span& span : under_way_) touched_ = touched_ || (begin < span.end && span.begin < begin + bytes);
}

Result Pulls::order_step() { return touched_ ? order_all() : kSuccess; }

Result Pulls::order_all() {
    touched_ = false;
    if (under_way_.empty()) return kSuccess;
    under_way_.clear();
    return copying_.order_before(device_.compute);
}

}  // namespace cuda
}  // namespace owl
