// What was submitted last, for owl.explain: a bounded ring. Guarded by the graph's lock.
#pragma once
#include <array>

#include "run.h"
#include "_engine/record/stream.h"

namespace owl {

// Why a closed window was submitted when it was.
enum class SubmitReason : uint8_t { settled, next_cut, idle, request, wait_for_all, pause };

struct SubmitCause {
    CutReason cut = CutReason::request;
    SubmitReason reason = SubmitReason::request;
    uint32_t asked_at = 0;  // the site of the request
};

struct Submission {
    struct Recorded {
        uint64_t sequence;
        uint32_t site;
    };
    uint64_t window = 0;  // several runs are one window: by device, or with nodes of other streams that it needs
    SubmitCause cause;
    bool known = false;  // the plan was found, not compiled
    std::shared_ptr<Plan> plan;   // none as long as it is being compiled
    std::vector<Recorded> nodes;  // by the plan's nodes
};

class Trace {
   public:
    // Returns the entry's number, for set_plan(). `plan`: nullptr if it has to be compiled.
    uint64_t add(uint64_t window, const SubmitCause& cause, const std::shared_ptr<Plan>& plan,
                 const std::vector<Node*>& nodes) {
        // Entries are overwritten in place, so nothing is allocated once the ring is full.
        Submission& entry = ring_[count_++ % ring_.size()];
        entry.window = window;
        entry.cause = cause;
        entry.known = plan != nullptr;
        entry.plan = plan;
        entry.nodes.clear();
        for (const Node* node : nodes) entry.nodes.push_back({node->sequence, node->site});
        return count_ - 1;
    }
    void set_plan(uint64_t number, const std::shared_ptr<Plan>& plan, bool known) {
        if (count_ - number > ring_.size()) return;
        Submission& entry = ring_[number % ring_.size()];
        entry.known = known;
        entry.plan = plan;
    }
    // The oldest first.
    void list(std::vector<Submission>* out) const {
        const uint64_t kept = count_ < ring_.size() ? count_ : ring_.size();
        for (uint64_t i = count_ - kept; i < count_; ++i)
            if (ring_[i % ring_.size()].plan) out->push_back(ring_[i % ring_.size()]);
    }

   private:
    std::array<Submission, 64> ring_;
    uint64_t count_ = 0;
};

}  // namespace owl
