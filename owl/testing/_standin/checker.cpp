#include "checker.h"

#include <algorithm>

namespace owl {
namespace cuda {

void join(Clock& into, const Clock& from) {
    if (into.size() < from.size()) into.resize(from.size());
    for (size_t k = 0; k < from.size(); ++k) into[k] = std::max(into[k], from[k]);
}

uint64_t& entry(Clock& clock, int who) {
    if (clock.size() <= static_cast<size_t>(who)) clock.resize(static_cast<size_t>(who) + 1);
    return clock[static_cast<size_t>(who)];
}

bool Touch::before(const Clock& now) const {
    return who < 0 || (static_cast<size_t>(who) < now.size() && now[static_cast<size_t>(who)] >= when);
}

std::string Touch::text() const {
    if (who == 0) return std::string(name) + " of the host (operation " + std::to_string(number) + ")";
    return std::string(name) + " (operation " + std::to_string(number) + ", stream " + std::to_string(who) + ")";
}

namespace {

std::string race(const Touch& now, bool writes, const Touch& then, bool wrote, size_t first, size_t last) {
    return "race: " + now.text() + (writes ? " writes" : " reads") + " what " + then.text() + (wrote ? " writes" : " reads") +
           ", and nothing orders them: bytes " + std::to_string(first) + " to " + std::to_string(last - 1);
}

}  // namespace

void History::split(size_t at) {
    auto next = stretches_.upper_bound(at);
    if (next == stretches_.begin()) return;
    auto stretch = std::prev(next);
    if (stretch->first == at || stretch->second.last <= at) return;
    Stretch rest = stretch->second;
    stretch->second.last = at;
    stretches_.emplace(at, std::move(rest));
}

// Leaves no gap between first and last.
void History::fill(size_t first, size_t last) {
    split(first);
    split(last);
    size_t at = first;
    for (auto next = stretches_.lower_bound(first); at < last; ++next) {
        const size_t until = next == stretches_.end() ? last : std::min(last, next->first);
        if (at < until) next = stretches_.emplace(at, Stretch{until, {}, {}}).first;
        at = next->second.last;
    }
}

std::string History::touch(size_t first, size_t last, bool written, const Clock& now, const Touch& touch) {
    std::string wrong;
    if (first >= last) return wrong;
    fill(first, last);
    const auto begin = stretches_.lower_bound(first), end = stretches_.lower_bound(last);
    for (auto at = begin; at != end; ++at) {
        Stretch& stretch = at->second;
        if (wrong.empty() && !stretch.writer.before(now))
            wrong = race(touch, written, stretch.writer, true, at->first, stretch.last);
        if (written) {
            for (const Touch& reader : stretch.readers)
                if (wrong.empty() && !reader.before(now)) wrong = race(touch, true, reader, false, at->first, stretch.last);
            continue;
        }
        // What the same stream has read before is before this.
        auto same = [&](const Touch& reader) { return reader.who == touch.who; };
        auto& readers = stretch.readers;
        readers.erase(std::remove_if(readers.begin(), readers.end(), same), readers.end());
        readers.push_back(touch);
    }
    if (written) {
        stretches_.erase(begin, end);
        stretches_.emplace(first, Stretch{last, touch, {}});
    }
    return wrong;
}

std::string History::end(const Clock& now, const char* by) const {
    for (const auto& [first, stretch] : stretches_) {
        for (const Touch& reader : stretch.readers)
            if (!reader.before(now)) return std::string(by) + " frees what " + reader.text() + " reads, and the host has not waited for it";
        if (!stretch.writer.before(now))
            return std::string(by) + " frees what " + stretch.writer.text() + " writes, and the host has not waited for it";
    }
    return "";
}

}  // namespace cuda
}  // namespace owl
