// The static memory plan: which stored value is an output, which writes over an input after its last use, and
// where in one arena the rest lies.
#include "placement.h"

#include <algorithm>
#include <map>

namespace owl {
namespace {

constexpr size_t kArenaAlignment = 64;

// First fit over the free gaps, in the order of addresses.
class Arena {
   public:
    size_t allocate(size_t bytes) {
        bytes = rounded(bytes);
        for (auto gap = gaps_.begin(); gap != gaps_.end(); ++gap) {
            if (gap->second < bytes) continue;
            const size_t offset = gap->first, rest = gap->second - bytes;
            gaps_.erase(gap);
            if (rest) gaps_[offset + bytes] = rest;
            return offset;
        }
        const size_t offset = end_;
        end_ += bytes;
        return offset;
    }
    void free(size_t offset, size_t bytes) {
        bytes = rounded(bytes);
        auto next = gaps_.lower_bound(offset);
        if (next != gaps_.end() && offset + bytes == next->first) {
            bytes += next->second;
            next = gaps_.erase(next);
        }
        if (next != gaps_.begin()) {
            auto previous = std::prev(next);
            if (previous->first + previous->second == offset) {
                previous->second += bytes;
                return;
            }
        }
        gaps_[offset] = bytes;
    }
    size_t size() const { return end_; }

   private:
    static size_t rounded(size_t bytes) {
        return std::max(kArenaAlignment, (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment);
    }
    std::map<size_t, size_t> gaps_;
    size_t end_ = 0;
};

class Placer {
   public:
    Placer(Plan* plan, const Fusion& fusion) : plan_(*plan), f_(fusion) {}

    Placement run() {
        result_.input_slot.assign(plan_.inputs.size(), -1);
        result_.value_slot.assign(plan_.nodes.size(), -1);
        result_.position_slot.assign(plan_.nodes.size(), -1);
        for (size_t i = 0; i < plan_.inputs.size(); ++i) {
            result_.input_slot[i] = static_cast<int32_t>(plan_.slots.size());
            plan_.slots.push_back({Slot::input, static_cast<int32_t>(i), 0});
        }
        find_last_uses();
        make_outputs();
        if (plan_.has_arena) fill_arena();
        else give_buffers();
        return std::move(result_);
    }

   private:
    size_t bytes_of(int node) const {
        return static_cast<size_t>(plan_.nodes[node].shape.size()) * dtype_size(plan_.nodes[node].dtype);
    }

    template <class Visit>
    void each_operand(const Group& group, Visit visit) const {
        for (int member : group.members)
            for (size_t k = 0; k < f_.operands[member].size(); ++k) visit(member, f_.operands[member][k]);
    }

    void find_last_uses() {
        last_use_.assign(plan_.nodes.size(), -1);
        input_last_use_.assign(plan_.inputs.size(), -1);
        for (size_t step = 0; step < f_.order.size(); ++step)
            each_operand(f_.groups[f_.order[step]], [&](int, const Operand& operand) {
                (operand.ref >= 0 ? last_use_[operand.ref] : input_last_use_[~operand.ref]) = static_cast<int>(step);
            });
    }

    // May `group` write the value of `node` over the data of `ref`? Only where it reads that data element by element, at
    // the place where it writes.
    bool overwrites_safely(const Group& group, int node, Ref ref) const {
        if (!runs_program(group.kind)) return false;
        bool reads = false, safe = true;
        each_operand(group, [&](int member, const Operand& operand) {
            if (operand.ref != ref) return;
            reads = true;
            const bool dense = operand.view == group.space && !operand.transposed;
            if (plan_.nodes[member].op == Op::matmul || plan_.nodes[member].op == Op::cast || !dense) safe = false;
        });
        const DType dtype = ref >= 0 ? plan_.nodes[ref].dtype : plan_.inputs[~ref].dtype;
        return reads && safe && is_register_value(group, node) && dtype == plan_.nodes[node].dtype &&
               plan_.nodes[node].shape == group.space;
    }

    void make_outputs() {
        std::vector<int32_t> output_of(plan_.nodes.size(), -1);
        std::vector<char> aliased(plan_.inputs.size(), 0), taken(plan_.inputs.size(), 0);
        for (size_t i = 0; i < plan_.nodes.size(); ++i) {
            if (!f_.visible[i]) continue;
            PlanOutput output;
            output.node = static_cast<int32_t>(i);
            output.bytes = bytes_of(static_cast<int>(i));
            const Ref root = f_.root[i];
            if (root < 0) {
                output.alias_input = ~root;
                aliased[~root] = 1;
            } else if (output_of[root] >= 0) {
                output.alias_output = output_of[root];
            } else {
                output_of[root] = static_cast<int32_t>(plan_.outputs.size());
                result_.value_slot[root] = static_cast<int32_t>(plan_.slots.size());
                plan_.slots.push_back({Slot::output, output_of[root], 0});
                plan_.output_bytes += output.bytes;
            }
            plan_.outputs.push_back(output);
        }
        for (size_t step = 0; step < f_.order.size(); ++step) {
            const Group& group = f_.groups[f_.order[step]];
            for (int member : group.members) {
                if (output_of[member] < 0) continue;
                for (size_t e = 0; e < plan_.inputs.size(); ++e) {
                    if (!plan_.inputs[e].donatable || aliased[e] || taken[e]) continue;
                    if (input_last_use_[e] != static_cast<int>(step) || !overwrites_safely(group, member, ~static_cast<Ref>(e)))
                        continue;
                    plan_.outputs[output_of[member]].donated_input = static_cast<int32_t>(e);
                    taken[e] = 1;
                    break;
                }
            }
        }
    }

    void give_buffers() {
        for (size_t i = 0; i < plan_.nodes.size(); ++i) {
            if (!f_.stored[i] || result_.value_slot[i] >= 0 || f_.group_of[i] < 0) continue;
            result_.value_slot[i] = static_cast<int32_t>(plan_.slots.size());
            plan_.slots.push_back({Slot::own, static_cast<int32_t>(plan_.own_bytes.size()), 0});
            plan_.own_bytes.push_back(bytes_of(static_cast<int>(i)));
        }
    }

    const Slot& slot(int node) const { return plan_.slots[result_.value_slot[node]]; }

    void fill_arena() {
        Arena arena;
        std::vector<std::vector<int>> dying(f_.order.size());
        for (size_t i = 0; i < plan_.nodes.size(); ++i) {
            if (f_.stored[i] && result_.value_slot[i] < 0 && f_.group_of[i] >= 0 && last_use_[i] >= 0)
                dying[last_use_[i]].push_back(static_cast<int>(i));
        }
        // Positions of maxima are needed as long as the pooled values are: who needs one, needs the other.
        std::vector<std::vector<int>> dying_positions(f_.order.size());
        auto keeps_positions = [&](int node) {
            return !f_.convolutions.joins.empty() && f_.convolutions.keeps_positions[node] && last_use_[node] >= 0;
        };
        std::vector<char> inherited(plan_.nodes.size(), 0);
        for (size_t step = 0; step < f_.order.size(); ++step) {
            const Group& group = f_.groups[f_.order[step]];
            auto make_room = [&](int node) {
                if (!f_.stored[node] || result_.value_slot[node] >= 0) return;
                size_t offset = SIZE_MAX;
                for (int dead : dying[step]) {
                    if (inherited[dead] || bytes_of(dead) != bytes_of(node) || !overwrites_safely(group, node, dead)) continue;
                    offset = slot(dead).offset;
                    inherited[dead] = 1;
                    break;
                }
                if (offset == SIZE_MAX) offset = arena.allocate(bytes_of(node));
                result_.value_slot[node] = static_cast<int32_t>(plan_.slots.size());
                plan_.slots.push_back({Slot::arena, node, offset, bytes_of(node)});
            };
            for (int member : group.members) make_room(member);
            for (int member : group.members) {
                if (!keeps_positions(member)) continue;
                const auto bytes = static_cast<size_t>(plan_.nodes[member].shape.size());
                result_.position_slot[member] = static_cast<int32_t>(plan_.slots.size());
                plan_.slots.push_back({Slot::arena, member, arena.allocate(bytes), bytes});
                dying_positions[last_use_[member]].push_back(member);
            }
            for (int sum : group.sums) make_room(sum);
            for (int dead : dying[step])
                if (!inherited[dead]) arena.free(slot(dead).offset, bytes_of(dead));
            for (int pool : dying_positions[step])
                arena.free(plan_.slots[result_.position_slot[pool]].offset,
                           static_cast<size_t>(plan_.nodes[pool].shape.size()));
        }
        plan_.arena_bytes = arena.size();
    }

    Plan& plan_;
    const Fusion& f_;
    Placement result_;
    std::vector<int> last_use_, input_last_use_;
};

}  // namespace

Placement place_arrays(Plan* plan, const Fusion& fusion) { return Placer(plan, fusion).run(); }

}  // namespace owl
