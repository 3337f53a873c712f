// What was handed over last, for owl.explain: a bounded ring. Guarded by the graph's lock.
#pragma once
#include <array>

#include "run.h"
#include "_engine/record/stream.h"

namespace owl {

// Why a closed window was handed over when it was.
enum class Release : uint8_t { settled, next_cut, idle, demand, wait_for_all, pause };

struct HandedOver {
    struct Recorded {
        uint64_t sequence;
        uint32_t site;
    };
    uint64_t window = 0;  // several runs are one window: by device, or with nodes of other streams that it needs
    Border border = Border::demand;
    Release release = Release::demand;
    bool known = false;      // the plan was found, not compiled
    uint32_t asked_at = 0;   // the site of the demand
    std::shared_ptr<Plan> plan;
    std::vector<Recorded> nodes;  // by the plan's nodes
};

class Trace {
   public:
    // What holds for all that is handed over until it is set anew.
    Border border = Border::demand;
    Release release = Release::demand;
    uint32_t asked_at = 0;

    void add(uint64_t window, bool known, const std::shared_ptr<Plan>& plan, const std::vector<Node*>& nodes) {
        // Entries are overwritten in place, so recording allocates nothing once the ring is full.
        HandedOver& entry = ring_[count_++ % ring_.size()];
        entry.window = window;
        entry.border = border;
        entry.release = release;
        entry.known = known;
        entry.asked_at = asked_at;
        entry.plan = plan;
        entry.nodes.clear();
        for (const Node* node : nodes) entry.nodes.push_back({node->sequence, node->site});
    }
    // The oldest first.
    void list(std::vector<HandedOver>* out) const {
        const uint64_t kept = count_ < ring_.size() ? count_ : ring_.size();
        for (uint64_t i = count_ - kept; i < count_; ++i) out->push_back(ring_[i % ring_.size()]);
    }

   private:
    std::array<HandedOver, 64> ring_;
    uint64_t count_ = 0;
};

}  // namespace owl
