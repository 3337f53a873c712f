#include "fusion.h"

#include <algorithm>
#include <cassert>

namespace owl {
namespace {

// The number of the memory in which a value lies.
int memory_of(const Plan& plan, Ref ref) {
    if (ref < 0) return plan.inputs[~ref].memory;
    return plan.nodes[ref].pushed ? kHostMemory : plan.memory;
}

// A buffer may be shared instead of copied, for values never change.
bool is_alias(const Plan& plan, const PlanNode& node) {
    if (node.op == Op::to_device)
        return memory_of(plan, node.inputs[0]) == (node.pushed ? kHostMemory : plan.memory);
    if (node.op == Op::reshape) return true;
    return node.op == elementwise_op(Elementwise::copy) && node.inputs.size() == 1;
}

bool is_matrix_transpose(const PlanNode& node) {
    return node.op == Op::transpose && node.shape.ndim == 2 && attributes_of<TransposeAttributes>(node).source(0) == 1;
}

bool runs_elementwise(const PlanNode& node) { return is_elementwise(node.op) || node.op == Op::cast; }

class Analyser {
   public:
    Analyser(const Plan& plan, const FusionRules& rules, bool fuse, Fusion* out)
        : plan_(plan), nodes_(plan.nodes), rules_(rules), fuse_(fuse), f_(*out) {}

    void run() {
        const size_t n = nodes_.size();
        f_.root.resize(n);
        f_.operands.resize(n);
        f_.required.assign(n, 0);
        f_.stored.assign(n, 0);
        f_.visible.assign(n, 0);
        f_.group_of.assign(n, -1);
        find_roots();
        if (fuse_ && rules_.convolutions) f_.convolutions = find_convolutions(plan_, f_.root, rules_.pooling_gradients);
        find_required();
        for (size_t i = 0; i < n; ++i)
            if (f_.required[i] && f_.root[i] == static_cast<Ref>(i)) place(static_cast<int>(i));
        find_stored();
        sort_groups();
    }

   private:
    const Shape& shape_of(Ref ref) const { return ref >= 0 ? nodes_[ref].shape : plan_.inputs[~ref].shape; }
    Ref root_of(Ref ref) const { return ref >= 0 ? f_.root[ref] : ref; }

    void find_roots() {
        for (size_t i = 0; i < nodes_.size(); ++i) {
            f_.root[i] = is_alias(plan_, nodes_[i]) ? root_of(nodes_[i].inputs[0]) : static_cast<Ref>(i);
            if (fuse_ && f_.root[i] == static_cast<Ref>(i)) f_.root[i] = same_as_earlier(static_cast<int>(i));
        }
    }

    // Common subexpressions. Scalars and random counters are arguments of a run, so operations that have any are not
    // compared: equal structure would not mean equal values.
    Ref same_as_earlier(int i) {
        const PlanNode& node = nodes_[i];
        if (node.scalar_mask || node.op == Op::random || node.op == Op::slice || node.inputs.empty()) return i;
        uint64_t hash = mix(static_cast<uint64_t>(node.op), hash_shape(node.shape, node.dtype));
        for (Ref ref : node.inputs) hash = mix(hash, static_cast<uint64_t>(root_of(ref)));
        for (auto& [other_hash, j] : seen_) {
            if (other_hash != hash) continue;
            const PlanNode& other = nodes_[j];
            if (other.op != node.op || other.shape != node.shape || other.dtype != node.dtype ||
                other.inputs.size() != node.inputs.size() ||
                other.pushed != node.pushed || std::memcmp(other.attribute, node.attribute, sizeof node.attribute))
                continue;
            bool equal = true;
            for (size_t k = 0; k < node.inputs.size(); ++k)
                equal = equal && root_of(other.inputs[k]) == root_of(node.inputs[k]) &&
                        shape_of(other.inputs[k]) == shape_of(node.inputs[k]);
            if (equal) return j;
        }
        seen_.emplace_back(hash, i);
        if (seen_.size() > 64) seen_.erase(seen_.begin());
        return i;
    }

    Operand resolve(const PlanNode& consumer, Ref ref) const {
        Operand operand;
        operand.ref = ref;
        operand.view = shape_of(ref);
        if (fuse_ && consumer.op == Op::matmul) {
            while (operand.ref >= 0 && is_matrix_transpose(nodes_[operand.ref])) {
                operand.ref = nodes_[operand.ref].inputs[0];
                operand.transposed = !operand.transposed;
                operand.view = shape_of(operand.ref);
            }
        }
        operand.ref = root_of(operand.ref);
        return operand;
    }

    void find_required() {
        for (int i = static_cast<int>(nodes_.size()); i-- > 0;) {
            const PlanNode& node = nodes_[i];
            if (node.live && !node.rematerializable) {
                f_.visible[i] = 1;
                require(f_.root[i]);
            }
            if (!f_.required[i] || f_.root[i] != i) continue;
            f_.operands[i].reserve(node.inputs.size());
            for (Ref ref : fused_inputs(plan_, f_.convolutions, i)) {
                f_.operands[i].push_back(resolve(node, ref));
                require(f_.operands[i].back().ref);
            }
        }
    }
    void require(Ref root) {
        if (root >= 0) f_.required[root] = 1;
    }

    // ------------------------------------------------------------------------------------------------------- groups

    bool depends(int group, int on) const { return depends_[group][on >> 6] >> (on & 63) & 1; }
    void set_depends(int group, int on) { depends_[group][on >> 6] |= uint64_t{1} << (on & 63); }

    void add_dependency(int group, int on) {
        if (group == on || depends(group, on)) return;
        std::vector<uint64_t> reach = depends_[on];
        reach[on >> 6] |= uint64_t{1} << (on & 63);
        for (size_t k = 0; k < f_.groups.size(); ++k) {
            if (static_cast<int>(k) != group && !depends(static_cast<int>(k), group)) continue;
            for (size_t w = 0; w < reach.size(); ++w) depends_[k][w] |= reach[w];
        }
    }

    int new_group(int i, GroupKind kind) {
        const int id = static_cast<int>(f_.groups.size());
        Group group;
        group.kind = kind;
        group.dtype = nodes_[i].dtype;
        group.space = nodes_[i].shape;
        f_.groups.push_back(std::move(group));
        depends_.emplace_back((nodes_.size() + 63) / 64, 0);
        join(i, id);
        return id;
    }

    void join(int i, int id) {
        Group& group = f_.groups[id];
        group.members.push_back(i);
        for (const Operand& operand : f_.operands[i])
            group.operands += operand.ref < 0 || f_.group_of[operand.ref] != id;
        group.scalars += __builtin_popcount(nodes_[i].scalar_mask);
        f_.group_of[i] = id;
        for (const Operand& operand : f_.operands[i])
            if (operand.ref >= 0) add_dependency(id, f_.group_of[operand.ref]);
    }

    // The group whose pass computes this operand element by element in the space of `shape`; -1 if there is none.
    int register_group(const Operand& operand, const Shape& shape, DType dtype) const {
        if (operand.ref < 0 || operand.transposed || operand.view != shape) return -1;
        const int id = f_.group_of[operand.ref];
        const Group& group = f_.groups[id];
        if (!runs_program(group.kind) || group.space != shape || group.dtype != dtype) return -1;
        return is_register_value(group, operand.ref) ? id : -1;
    }

    bool fits(const Group& group, size_t members, int operands, int scalars) const {
        return group.members.size() + members <= rules_.members && group.operands + operands <= rules_.operands &&
               group.scalars + scalars <= kMaxProgramScalars;
    }

    bool may_join(int i, int id) const {
        const PlanNode& node = nodes_[i];
        if (!fits(f_.groups[id], 1, static_cast<int>(node.inputs.size()), __builtin_popcount(node.scalar_mask)))
            return false;
        for (const Operand& operand : f_.operands[i]) {
            if (operand.ref < 0) continue;
            const int from = f_.group_of[operand.ref];
            if (from == id ? register_group(operand, node.shape, node.dtype) != id : depends(from, id)) return false;
        }
        return true;
    }

    bool may_merge(int a, int b) const {
        const Group &ga = f_.groups[a], &gb = f_.groups[b];
        if (gb.kind != GroupKind::elementwise || ga.space != gb.space || ga.dtype != gb.dtype) return false;
        if (!fits(ga, gb.members.size(), gb.operands, gb.scalars)) return false;
        if (ga.sums.size() + gb.sums.size() > kMaxProgramSums) return false;
        for (size_t k = 0; k < f_.groups.size(); ++k) {  // a way from one to the other through a third would close a cycle
            const int id = static_cast<int>(k);
            if (id == a || id == b || f_.groups[k].merged_away) continue;
            if ((depends(id, a) && depends(b, id)) || (depends(id, b) && depends(a, id))) return false;
        }
        // What one stores other than element by element, the other must not read.
        return !reads_outside_registers(a, b) && !reads_outside_registers(b, a);
    }

    bool reads_outside_registers(int reader, int of) const {
        for (int i : f_.groups[reader].members)
            for (const Operand& operand : f_.operands[i])
                if (operand.ref >= 0 && f_.group_of[operand.ref] == of &&
                    (nodes_[i].op == Op::matmul || register_group(operand, nodes_[i].shape, nodes_[i].dtype) != of))
                    return true;
        return false;
    }

    void merge(int a, int b) {
        Group &ga = f_.groups[a], &gb = f_.groups[b];
        const int head = ga.kind == GroupKind::matmul ? ga.members[0] : -1;
        for (int i : gb.members) f_.group_of[i] = a;
        for (int i : gb.sums) f_.group_of[i] = a;
        ga.members.insert(ga.members.end(), gb.members.begin(), gb.members.end());
        std::sort(ga.members.begin() + (head >= 0 ? 1 : 0), ga.members.end());
        ga.sums.insert(ga.sums.end(), gb.sums.begin(), gb.sums.end());
        ga.operands += gb.operands;
        ga.scalars += gb.scalars;
        gb.merged_away = true;
        gb.members.clear();
        gb.sums.clear();
        for (size_t k = 0; k < f_.groups.size(); ++k)
            if (depends(static_cast<int>(k), b)) set_depends(static_cast<int>(k), a);
        for (size_t w = 0; w < depends_[a].size(); ++w) depends_[a][w] |= depends_[b][w];
        depends_[a][a >> 6] &= ~(uint64_t{1} << (a & 63));
        depends_[a][b >> 6] &= ~(uint64_t{1} << (b & 63));
        for (size_t k = 0; k < f_.groups.size(); ++k) {
            if (!depends(static_cast<int>(k), a)) continue;
            for (size_t w = 0; w < depends_[a].size(); ++w) depends_[k][w] |= depends_[a][w];
        }
    }

    void place(int i) {
        const PlanNode& node = nodes_[i];
        if (is_convolution(node.op) || shared_pass(i) >= 0) {
            const int id = shared_pass(i);
            if (id >= 0) join(i, id);
            else new_group(i, GroupKind::convolution);
        } else if (node.op == Op::matmul) {
            new_group(i, is_whole_product(node) ? GroupKind::single : GroupKind::matmul);
        } else if (runs_elementwise(node)) {
            place_elementwise(i);
        } else {
            if (fuse_ && node.op == Op::reduce && is_row_sum(node, f_.operands[i][0])) {
                const int id = register_group(f_.operands[i][0], f_.operands[i][0].view, node.dtype);
                if (id >= 0 && f_.groups[id].sums.size() < kMaxProgramSums && takes_sums(f_.groups[id].kind)) {
                    f_.groups[id].sums.push_back(i);
                    f_.group_of[i] = id;
                    return;
                }
            }
            new_group(i, GroupKind::single);
        }
    }

    bool is_whole_product(const PlanNode& node) const {
        const int64_t depth = shape_of(node.inputs[0]).dim[1];
        return rules_.whole_product && rules_.whole_product(node.shape.dim[0], node.shape.dim[1], depth);
    }

    bool takes_sums(GroupKind kind) const {
        return kind == GroupKind::matmul ? rules_.sums_in_products : rules_.sums_in_elementwise;
    }

    // The group of a convolution that an operation takes part in; -1: none.
    int shared_pass(int i) const {
        const int head = f_.convolutions.joins.empty() ? -1 : f_.convolutions.joins[i];
        const int id = head >= 0 ? f_.group_of[head] : -1;
        if (id < 0) return -1;
        for (const Operand& operand : f_.operands[i]) {
            const int from = operand.ref >= 0 ? f_.group_of[operand.ref] : -1;
            if (from >= 0 && from != id && depends(from, id)) return -1;
        }
        return id;
    }

    void place_elementwise(int i) {
        const PlanNode& node = nodes_[i];
        int best = -1;
        if (fuse_ && node.op != Op::cast) {
            for (const Operand& operand : f_.operands[i]) {
                const int id = register_group(operand, node.shape, node.dtype);
                if (id < 0 || id == best || !may_join(i, id)) continue;
                // Riding on a matrix product saves a whole pass; else the latest group has the freshest cache.
                const bool product = f_.groups[id].kind == GroupKind::matmul;
                const bool best_product = best >= 0 && f_.groups[best].kind == GroupKind::matmul;
                if (best < 0 || (product && !best_product) || (product == best_product && id > best)) best = id;
            }
        }
        if (best < 0) {
            new_group(i, GroupKind::elementwise);
            return;
        }
        join(i, best);
        for (const Operand& operand : f_.operands[i]) {
            const int other = register_group(operand, node.shape, node.dtype);
            if (other >= 0 && other != best && may_merge(best, other)) merge(best, other);
        }
    }

    void find_stored() {
        for (size_t i = 0; i < nodes_.size(); ++i) {
            if (f_.visible[i] && f_.root[i] >= 0) f_.stored[f_.root[i]] = 1;
            if (!f_.required[i] || f_.root[i] != static_cast<Ref>(i)) continue;
            const int mine = f_.group_of[i];
            if (f_.groups[mine].kind == GroupKind::single || !is_register_value(f_.groups[mine], static_cast<int>(i)))
                f_.stored[i] = 1;
            for (const Operand& operand : f_.operands[i]) {
                if (operand.ref < 0) continue;
                if (f_.group_of[operand.ref] != mine || nodes_[i].op == Op::matmul) f_.stored[operand.ref] = 1;
            }
        }
    }

    // A group runs where its last member was recorded, unless it is needed earlier: updates come after the last use
    // of what they overwrite.
    void sort_groups() {
        std::vector<int> waiting;
        for (size_t k = 0; k < f_.groups.size(); ++k)
            if (!f_.groups[k].merged_away) waiting.push_back(static_cast<int>(k));
        auto last = [&](int id) {
            const Group& group = f_.groups[id];
            return std::max(group.members.empty() ? -1 : *std::max_element(group.members.begin(), group.members.end()),
                            group.sums.empty() ? -1 : *std::max_element(group.sums.begin(), group.sums.end()));
        };
        std::sort(waiting.begin(), waiting.end(), [&](int a, int b) { return last(a) < last(b); });
        std::vector<char> emitted(f_.groups.size(), 0);
        for (int id : waiting) emit(id, &emitted);
    }

    void emit(int id, std::vector<char>* emitted) {
        // Explicit stack: a window can hold thousands of groups in a row.
        std::vector<int> stack{id};
        while (!stack.empty()) {
            const int top = stack.back();
            if ((*emitted)[top]) {
                stack.pop_back();
                continue;
            }
            bool ready = true;
            auto need = [&](int member) {
                for (const Operand& operand : f_.operands[member]) {
                    if (operand.ref < 0) continue;
                    const int from = f_.group_of[operand.ref];
                    if (from != top && !(*emitted)[from]) {
                        stack.push_back(from);
                        ready = false;
                    }
                }
            };
            for (int member : f_.groups[top].members) need(member);
            if (!ready) continue;
            (*emitted)[top] = 1;
            f_.order.push_back(top);
            stack.pop_back();
        }
    }

    // So that inputs and intermediate results together always fit the registers of a program.
    static_assert(kMaxProgramInputs + kMaxProgramOutputs <= kMaxProgramRegisters, "registers");

    const Plan& plan_;
    const std::vector<PlanNode>& nodes_;
    const FusionRules& rules_;
    const bool fuse_;
    Fusion& f_;
    std::vector<std::vector<uint64_t>> depends_;
    std::vector<std::pair<uint64_t, int>> seen_;
};

// An operand of a rematerializable value must exist after the run; a transpose of it stays recorded, as that value does.
void keep_for_leftover(Plan* plan, Fusion* fusion, Ref ref) {
    if (ref < 0) {
        plan->inputs[~ref].donatable = false;
        return;
    }
    if (is_matrix_transpose(plan->nodes[ref]) && !fusion->visible[ref] && fusion->group_of[ref] < 0) {
        if (plan->nodes[ref].rematerializable) return;
        plan->nodes[ref].rematerializable = true;
        plan->rematerializable_nodes.push_back(ref);
        keep_for_leftover(plan, fusion, plan->nodes[ref].inputs[0]);
        return;
    }
    fusion->visible[ref] = 1;
    if (fusion->root[ref] < 0) plan->inputs[~fusion->root[ref]].donatable = false;
}

}  // namespace

bool is_row_sum(const PlanNode& node, const Operand& operand) {
    const auto attributes = attributes_of<ReduceAttributes>(node);
    return attributes.reduction == static_cast<int64_t>(Reduction::sum) && attributes.axes == 2 && !attributes.mean &&
           operand.view.ndim == 2 && operand.view.dim[0] != 1;
}

Fusion analyse(Plan* plan, const FusionRules& rules, bool fuse) {
    // A value may be left over if it is fused into its readers, so that leaving it saves memory traffic, and if what
    // it is computed from stays: inputs of the plan, or values that go through memory anyhow and then stay visible.
    for (PlanNode& node : plan->nodes) {
        const bool movable = is_elementwise(node.op) || node.op == Op::matmul;
        node.rematerializable = node.rematerializable && fuse && movable && !is_alias(*plan, node) && !node.inputs.empty();
    }
    for (;;) {
        Fusion fusion;
        Analyser(*plan, rules, fuse, &fusion).run();
        bool changed = false;
        std::vector<PlanNode*> unused;  // by what is sure to run; another candidate that turns out to run may use them
        for (size_t i = 0; i < plan->nodes.size(); ++i) {
            PlanNode& node = plan->nodes[i];
            if (!node.rematerializable) continue;
            if (!fusion.required[i]) {
                unused.push_back(&node);
                continue;
            }
            bool may = !fusion.stored[i] && fusion.root[i] == static_cast<Ref>(i);
            for (Ref ref : node.inputs) {
                // Looked at without absorption: what stays recorded reads its inputs as they were recorded.
                const Ref root = ref >= 0 ? fusion.root[ref] : ref;
                if (root < 0) continue;
                const bool absorbed = ref >= 0 && is_matrix_transpose(plan->nodes[ref]);
                const Ref source = absorbed ? plan->nodes[ref].inputs[0] : root;
                const Ref source_root = source >= 0 ? fusion.root[source] : source;
                if (source_root >= 0 && (!fusion.stored[source_root] || plan->nodes[source_root].rematerializable)) may = false;
            }
            if (may) continue;
            node.rematerializable = false;
            changed = true;
        }
        if (changed) continue;
        for (PlanNode* node : unused) node->rematerializable = false;
        if (!unused.empty()) continue;
        for (size_t i = 0; i < plan->nodes.size(); ++i) {
            if (!plan->nodes[i].rematerializable) continue;
            plan->rematerializable_nodes.push_back(static_cast<int32_t>(i));
            for (Ref ref : plan->nodes[i].inputs) keep_for_leftover(plan, &fusion, ref);
        }
        return fusion;
    }
}

}  // namespace owl
