// A bounded map: where it is full, the entry that was used longest ago goes. The one rule for all that the engine
// remembers of a program: plans, windows, liveness, places whose values are stored.
#pragma once
#include <cstddef>
#include <cstdint>
#include <list>
#include <unordered_map>
#include <utility>

namespace owl {

template <class Value>
class LruMap {
   public:
    explicit LruMap(size_t capacity) : capacity_(capacity) {}

    // nullptr if there is none. The entry counts as used, and stays where it is while it is not dropped.
    Value* find(uint64_t key) {
        const auto found = places_.find(key);
        if (found == places_.end()) return nullptr;
        entries_.splice(entries_.begin(), entries_, found->second);
        return &found->second->second;
    }
    // Makes an empty entry if there is none.
    Value& operator[](uint64_t key) {
        if (Value* found = find(key)) return *found;
        if (entries_.size() >= capacity_) {
            places_.erase(entries_.back().first);
            entries_.pop_back();
        }
        entries_.emplace_front(key, Value());
        places_[key] = entries_.begin();
        return entries_.front().second;
    }
    size_t size() const { return places_.size(); }
    void clear() {
        places_.clear();
        entries_.clear();
    }

   private:
    using Entries = std::list<std::pair<uint64_t, Value>>;
    const size_t capacity_;
    Entries entries_;  // the one used last is the first
    std::unordered_map<uint64_t, typename Entries::iterator> places_;
};

}  // namespace owl
