#include "detector.h"

#include <algorithm>

namespace owl {
namespace {

constexpr int kGram = 4;              // two to four work on all loops tried; longer grams break on branches
constexpr uint64_t kMaxPeriod = 1024;
constexpr size_t kMaxAnchors = 16;
constexpr size_t kWays = 4;           // places of the table for grams of equal hash: with one, plans depended on chance
constexpr size_t kMaxRing = 4096;     // two of the longest periods, rounded up
constexpr uint64_t kMinNodes = 64;    // a window is cut at an anchor once it holds this many nodes,
constexpr uint64_t kMinBytes = 256 << 10;  // or this many bytes of output
constexpr double kClearlyFewer = 0.9;

}  // namespace

void Detector::grow() {
    // Most tasks record a handful of nodes and never come here twice.
    std::vector<Entry> ring(std::max<size_t>(16, ring_.size() * 2));
    for (const Entry& old : ring_) ring[old.position & (ring.size() - 1)] = old;
    ring_.swap(ring);
    std::vector<Seen> table(2 * ring_.size());
    table_.swap(table);
    for (const Seen& old : table)
        if (old.gram) seen(old.gram) = old;
}

// One of the places that a gram may have: where it is, or where what was recorded longest ago is.
Detector::Seen& Detector::seen(uint64_t gram) {
    Seen* const first = &table_[(gram >> 32 & (table_.size() / kWays - 1)) * kWays];
    Seen* oldest = first;
    for (size_t way = 0; way < kWays; ++way) {
        if (first[way].gram == gram) return first[way];
        if (first[way].start < oldest->start) oldest = &first[way];
    }
    return *oldest;
}

bool Detector::reset() {
    constexpr size_t kRoom = 64;
    if (ring_.size() > kRoom || cuts_.capacity() > kRoom) return false;
    Detector fresh;
    fresh.ring_.swap(ring_);
    fresh.table_.swap(table_);
    std::fill(fresh.ring_.begin(), fresh.ring_.end(), Entry{});
    std::fill(fresh.table_.begin(), fresh.table_.end(), Seen{});
    *this = std::move(fresh);
    return true;
}

void Detector::use_inputs(Node* node) {
    for (uint32_t i = 0; i < node->n_inputs; ++i) {
        const Node* input = node->inputs()[i];
        if (input->stream == node->stream && remembered(input->position)) entry(input->position).last_use = position_;
    }
}

// Bytes that are made before `place` and used from there on.
uint64_t Detector::bytes_crossing(uint64_t place) const {
    uint64_t bytes = 0;
    const uint64_t first = place > kMaxPeriod ? place - kMaxPeriod : 1;
    for (uint64_t p = first; p < place; ++p) {
        const Entry& e = ring_[p & (ring_.size() - 1)];
        if (e.position == p && e.last_use >= place) bytes += e.bytes;
    }
    return bytes;
}

uint64_t Detector::feed(Node* node) {
    ++position_;
    node->position = position_;
    if (ring_.empty() || (position_ >= ring_.size() && ring_.size() < kMaxRing)) grow();
    entry(position_) = {position_, position_, node->bytes(), 0};
    bytes_since_cut_ += node->bytes();
    use_inputs(node);
    history_[position_ % kGram] = node->signature;
    if (position_ < kGram) return 0;
    uint64_t gram = 1;
    for (int k = 1; k <= kGram; ++k) gram = mix(gram, history_[(position_ + k) % kGram]);
    const uint64_t start = position_ - kGram + 1;
    entry(start).gram = gram;

    Seen& slot = seen(gram);
    Seen before = slot.gram == gram ? slot : Seen{};
    bool cut = false;
    int offset = 0;
    auto anchor = std::find_if(anchors_.begin(), anchors_.end(), [&](const Anchor& a) { return a.gram == gram; });
    if (anchor != anchors_.end()) {
        cut = true;
        offset = anchor->offset;
        fire(&*anchor, start);
    } else if (before.gram && before.start < start && start - before.start <= kMaxPeriod) {
        cut = learn(before, gram, start) || promote(before, gram, start);
    }
    seen(gram) = {gram, start, cut_count_, epoch_, before.rounds};
    if (!cut || (bytes_since_cut_ < kMinBytes && start - last_cut_ < kMinNodes)) return 0;
    ++cut_count_;
    if (cuts_.size() >= 512) cuts_.erase(cuts_.begin(), cuts_.begin() + 256);
    cuts_.push_back(start);
    bytes_since_cut_ = 0;
    last_cut_ = start;
    return start + static_cast<uint64_t>(offset);
}

void Detector::fire(Anchor* anchor, uint64_t start) {
    const uint64_t distance = anchor->last ? start - anchor->last : 0;
    anchor->last = start;
    ++anchor->firings;
    if (start > last_anchor_) period_ = start - last_anchor_;
    last_anchor_ = start;
    const bool undisturbed = anchor->epoch == epoch_;
    const uint64_t firings = anchor->firings;
    if (!undisturbed) anchor->firings = std::min<uint64_t>(anchor->firings, 1);
    anchor->epoch = epoch_;
    if (firings < 3 || anchor->phased || !undisturbed || distance == 0 || distance > kMaxPeriod) return;
    anchor->phased = true;
    choose_phase(anchor, start, distance);
}

// Looks at the last but one whole period, whose uses are known, for the place where the fewest bytes cross.
void Detector::choose_phase(Anchor* anchor, uint64_t start, uint64_t period) {
    if (start < 2 * period + 1) return;
    const uint64_t low = start - 2 * period;
    const uint64_t here = bytes_crossing(low + static_cast<uint64_t>(anchor->offset));
    uint64_t best = ~uint64_t{0}, best_gram = 0, best_at_start = ~uint64_t{0}, gram_at_start = 0;
    int best_offset = 0;
    for (uint64_t p = low; p < low + period; ++p) {
        if (!remembered(p) || !entry(p).gram) continue;
        const uint64_t gram = entry(p).gram;
        int repeats = 0;
        for (uint64_t q = low; q < low + period; ++q) repeats += remembered(q) && entry(q).gram == gram;
        if (repeats != 1) continue;
        for (int offset = 0; offset < kGram; ++offset) {
            const uint64_t bytes = bytes_crossing(p + static_cast<uint64_t>(offset));
            if (bytes < best) best = bytes, best_gram = gram, best_offset = offset;
            if (offset == 0 && bytes < best_at_start) best_at_start = bytes, gram_at_start = gram;
        }
    }
    if (!best_gram) return;
    // A cut before a gram comes a few nodes sooner than one inside it; that is worth a tenth.
    if (gram_at_start && static_cast<double>(best_at_start) <= 1.1 * static_cast<double>(best))
        best = best_at_start, best_gram = gram_at_start, best_offset = 0;
    if (static_cast<double>(best) >= kClearlyFewer * static_cast<double>(here)) return;
    if (best_gram == anchor->gram && best_offset == anchor->offset) return;
    const std::pair<uint64_t, uint64_t> move{anchor->gram, best_gram}, back{best_gram, anchor->gram};
    if (std::find(phased_.begin(), phased_.end(), move) != phased_.end()) return;
    phased_.push_back(move);
    phased_.push_back(back);
    *anchor = {best_gram, 0, epoch_, 0, best_offset, false};
    period_ = period;
}

void Detector::add_anchor(uint64_t gram, uint64_t start, uint64_t last, int offset) {
    if (anchors_.size() >= kMaxAnchors) {
        anchors_.erase(std::min_element(anchors_.begin(), anchors_.end(),
                                        [](const Anchor& a, const Anchor& b) { return a.last < b.last; }));
    }
    anchors_.push_back({gram, last, epoch_, 1, offset, false});
    last_anchor_ = start;
}

bool Detector::learn(const Seen& before, uint64_t gram, uint64_t start) {
    if (!anchors_.empty() && start - last_anchor_ <= 3 * std::max<uint64_t>(period_, 16)) return false;
    period_ = start - before.start;
    add_anchor(gram, start, start, 0);
    return true;
}

bool Detector::promote(Seen& before, uint64_t gram, uint64_t start) {
    if (before.epoch != epoch_ || cut_count_ - before.cuts < 2) return false;
    // Counting bytes costs microseconds: once a window is enough. A gram that was refused is looked at ever more rarely,
    // so that others have their turn.
    if (checked_at_cut_ == cut_count_) return false;
    if (const uint64_t round = ++before.rounds; round & (round - 1)) return false;
    checked_at_cut_ = cut_count_;
    uint64_t most = 0;
    for (uint64_t cut : cuts_)
        if (before.start < cut && cut < start) most = std::max(most, bytes_crossing(cut));
    if (static_cast<double>(bytes_crossing(before.start)) >= kClearlyFewer * static_cast<double>(most)) return false;
    anchors_.erase(std::remove_if(anchors_.begin(), anchors_.end(), [&](const Anchor& a) { return a.last > before.start; }),
                   anchors_.end());
    period_ = start - before.start;
    add_anchor(gram, start, start, 0);
    std::fill(table_.begin(), table_.end(), Seen{});
    return true;
}

}  // namespace owl
