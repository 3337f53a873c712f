// From the nodes of a window to a plan: the canonical key, and the plans that are known.
#pragma once
#include <algorithm>
#include <memory>

#include "_engine/memory/lru_map.h"
#include "plan.h"

namespace owl {

// Places of the program whose values were left over once and read later: from then on they are stored. A program that
// makes new shapes without end has places without end: those that are forgotten may be computed twice once more.
class StoredPlaces {
   public:
    static constexpr size_t kMost = 1 << 14;
    void add(const Node* node) { places_[place(node)] = true; }
    bool contains(const Node* node) { return places_.size() && places_.find(place(node)); }
    size_t size() const { return places_.size(); }

   private:
    static uint64_t place(const Node* node) { return mix(node->signature, node->site); }
    LruMap<bool> places_{kMost};
};

// The nodes of one window on one device, in the order of recording, in canonical form: numbered, with the inputs that
// come from outside, and with what is known of their liveness.
class Canonical {
   public:
    // Under the graph's lock. `nodes` are recorded and have one runner. `may_rematerialize`: values that only a handle
    // can see need not be stored, but for those of `stored`. False if they cannot be submitted like this: if a node stands among
    // them twice or is no longer recorded, was left over before, or has another runner than the first, or if one
    // needs a recorded value that is not among them.
    bool describe(const std::vector<Node*>& nodes, uint64_t mark, bool may_rematerialize, StoredPlaces& stored);
    uint64_t hash() const { return hash_; }
    bool same_key(const Plan& plan) const {
        return plan.key.size() == key_size_ && std::equal(plan.key.begin(), plan.key.end(), key_.begin());
    }
    // Under the graph's lock, while the nodes hold what they read. A plan for the key, of which describe_nodes() tells the rest.
    std::shared_ptr<Plan> begin_plan(const std::vector<Node*>& nodes);
    // Without the lock, if need be: all that it reads is fixed once a node is recorded. The nodes are held.
    void describe_nodes(const std::vector<Node*>& nodes, Plan* plan) const;
    // Takes over the room of another, whose key is needed no longer, if that has more.
    void take_room(Canonical* other) {
        if (other->key_.size() > key_.size()) std::swap(*this, *other);
    }
    // Whether the plan may leave a value over that can be seen.
    bool may_rematerialize() const;
    const std::vector<Node*>& inputs() const { return inputs_; }  // from outside, as the plan numbers them

   private:
    uint64_t* room_for(uint64_t* end, size_t words);

    std::vector<uint64_t> key_;  // the first key_size_ words
    size_t key_size_ = 0;
    std::vector<Node*> inputs_;
    std::vector<Ref> refs_;  // operands of all nodes, one after the other
    std::vector<uint32_t> operands_;  // of each node: how many; since begin_plan()
    std::vector<char> live_, rematerializable_, donatable_;
    std::vector<uint32_t> readers_inside_, outside_reads_;
    uint64_t hash_ = 0;
};

// By the hash of a window. A hit is verified by its whole key; of two plans with one hash the last that was made stays.
class PlanCache {
   public:
    std::shared_ptr<Plan> find(const Canonical& window);
    void insert(std::shared_ptr<Plan> plan);
    void clear() {
        plans_.clear();
        ++cleared_;
    }
    size_t size() const { return plans_.size(); }
    // How often it was cleared: a plan that was compiled before is of settings that hold no more.
    uint64_t cleared() const { return cleared_; }

   private:
    LruMap<std::shared_ptr<Plan>> plans_{512};
    uint64_t cleared_ = 0;
};

}  // namespace owl
