// From the nodes of a window to a plan: the canonical key, and the plans that are known.
#pragma once
#include <list>
#include <memory>
#include <unordered_map>

#include "run.h"

namespace owl {

struct PlannerCounters {
    uint64_t windows = 0, plans = 0, hits = 0, evicted = 0;
    uint64_t nodes = 0;           // handed over
    uint64_t dead = 0;            // never computed
    uint64_t donated = 0;
    uint64_t bytes_outside = 0;   // stored outside plans
    uint64_t bytes_inside = 0;    // arenas
};

// The nodes of one window on one device, in the order of recording, in canonical form: numbered, with the inputs that
// come from outside, and with what is known of their liveness.
class Canonical {
   public:
    // Under the graph's lock. `nodes` are recorded and belong to one device.
    void describe(const std::vector<Node*>& nodes, uint64_t mark);
    uint64_t hash() const { return hash_; }
    const std::vector<uint64_t>& key() const { return key_; }
    const std::vector<Node*>& inputs() const { return inputs_; }
    bool live(size_t i) const { return live_[i]; }
    std::shared_ptr<Plan> make_plan(const std::vector<Node*>& nodes) const;
    Run* make_run(const std::vector<Node*>& nodes, std::shared_ptr<Plan> plan) const;

   private:
    std::vector<uint64_t> key_;
    std::vector<Node*> inputs_;
    std::vector<Ref> refs_;  // operands of all nodes, one after the other
    std::vector<char> live_, donatable_;
    std::vector<uint32_t> readers_inside_, outside_reads_;
    uint64_t hash_ = 0;
};

// Bounded; the plan that was used longest ago goes first. A hit is verified by its whole key.
class PlanCache {
   public:
    std::shared_ptr<Plan> find(const Canonical& window);
    void insert(std::shared_ptr<Plan> plan);
    void clear();
    size_t size() const { return plans_.size(); }
    void set_capacity(size_t capacity) { capacity_ = capacity; }

   private:
    using Order = std::list<std::shared_ptr<Plan>>;
    Order order_;  // most recently used first
    std::unordered_multimap<uint64_t, Order::iterator> plans_;
    size_t capacity_ = 512;
};

}  // namespace owl
