// Where a loop comes round: finds the places at which a stream of recording should be cut into windows.
//
// The end of a step is not marked, so it is recognized. A gram is a hash of the signatures of the last four nodes. A gram
// that repeats becomes an anchor, and whenever it is recorded again the window is cut before its first operation. Three
// rules keep the anchors at good places:
//   learn    a gram repeats while there is no anchor, or none has been seen for three periods;
//   promote  from an inner to the outer loop, if clearly fewer bytes cross from window to window there;
//   phase    once, at an anchor's third firing, move within the period to where the fewest bytes cross.
#pragma once
#include <vector>

#include "_engine/graph/node.h"

namespace owl {

class Detector {
   public:
    // Takes in a node that was just recorded, and its place in the stream. Returns the place where a new window begins, or 0.
    uint64_t feed(Node* node);
    // A request came: what lies on its two sides is not one period for the sake of promotion.
    void request() { ++epoch_; }
    uint64_t recorded() const { return position_; }
    // Forgets everything but keeps its room; false if that has become large.
    bool reset();

   private:
    struct Entry {  // of a recent node
        uint64_t position = 0, last_use = 0, bytes = 0;
        uint64_t gram = 0;  // that begins here; 0: not known yet
    };
    struct Seen {  // when a gram was recorded last
        uint64_t gram = 0, start = 0, cuts = 0, epoch = 0;
        uint64_t rounds = 0;  // how often it was a candidate for promotion
    };
    struct Anchor {
        uint64_t gram, last, epoch;
        uint64_t firings;
        int offset;  // the window begins this many nodes after the gram's start
        bool phased;  // its phase has been chosen
    };

    Entry& entry(uint64_t position) { return ring_[position & (ring_.size() - 1)]; }
    bool remembered(uint64_t position) const { return position && ring_[position & (ring_.size() - 1)].position == position; }
    Seen& seen(uint64_t gram);
    void grow();
    void use_inputs(Node* node);
    uint64_t bytes_crossing(uint64_t place) const;
    void fire(Anchor* anchor, uint64_t start);
    void choose_phase(Anchor* anchor, uint64_t start, uint64_t period);
    bool learn(const Seen& before, uint64_t gram, uint64_t start);
    bool promote(Seen& before, uint64_t gram, uint64_t start);
    void add_anchor(uint64_t gram, uint64_t start, uint64_t last, int offset);

    std::vector<Entry> ring_;
    std::vector<Seen> table_;
    std::vector<Anchor> anchors_;
    std::vector<uint64_t> cuts_;        // the newest places of cuts
    std::vector<std::pair<uint64_t, uint64_t>> phased_;  // moves between grams that were made, so that none is undone
    uint64_t history_[4] = {};
    uint64_t position_ = 0;
    uint64_t last_anchor_ = 0, period_ = 16;
    uint64_t cut_count_ = 0, checked_at_cut_ = ~uint64_t{0};
    uint64_t epoch_ = 0;
    uint64_t bytes_since_cut_ = 0, last_cut_ = 0;
};

}  // namespace owl
