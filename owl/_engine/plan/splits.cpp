#include "splits.h"

namespace owl {
namespace {

class Finder {
   public:
    Finder(const Plan& plan, const FusionRules& rules, const Fusion& fusion)
        : plan_(plan), nodes_(plan.nodes), rules_(rules), f_(fusion), step_of_(plan.nodes.size(), -1) {
        for (size_t s = 0; s < plan.steps.size(); ++s)
            for (int32_t i : plan.steps[s].operations) step_of_[i] = static_cast<int32_t>(s);
        find_reach();
    }

    std::vector<Split> run() const {
        std::vector<Split> splits;
        for (size_t s = 0; s < plan_.steps.size(); ++s) {
            const size_t first = splits.size();
            for (int32_t i : plan_.steps[s].operations)
                for (const Operand& operand : f_.operands[i]) add(static_cast<int32_t>(s), i, operand, first, &splits);
        }
        return splits;
    }

   private:
    // Of a pair of steps the first reason that there is.
    void add(int32_t step, int32_t node, const Operand& operand, size_t first, std::vector<Split>* splits) const {
        const int32_t source = operand.ref >= 0 ? step_of_[operand.ref] : -1;
        if (source < 0 || source == step) return;
        for (size_t k = first; k < splits->size(); ++k)
            if ((*splits)[k].source == source) return;
        const SplitReason why = reason(node, operand);
        if (why != SplitReason::none) splits->push_back({step, source, node, operand.ref, why});
    }

    // Groups in the order of execution, so those that one needs come before it.
    void find_reach() {
        reach_.assign(f_.groups.size(), std::vector<char>(f_.groups.size(), 0));
        const auto need = [this](int id, int member) {
            for (const Operand& operand : f_.operands[member]) {
                const int from = operand.ref >= 0 ? f_.group_of[operand.ref] : id;
                if (from == id) continue;
                reach_[id][from] = 1;
                for (size_t k = 0; k < reach_.size(); ++k) reach_[id][k] |= reach_[from][k];
            }
        };
        for (int id : f_.order)
            for (int member : f_.groups[id].members) need(id, member);
    }

    // Does a group's pass have this operand as it is, element by element?
    bool passes_elements(const Group& group, const Operand& operand) const {
        return !operand.transposed && operand.view == group.space && is_register_value(group, operand.ref);
    }

    SplitReason reason(int i, const Operand& operand) const {
        const int mine = f_.group_of[i], other = f_.group_of[operand.ref];
        const Group &reader = f_.groups[mine], &source = f_.groups[other];
        const PlanNode& node = nodes_[i];
        if (mine == other) return node.op == Op::pool_forward ? SplitReason::pooling_windows : SplitReason::none;
        if (reader.kind == GroupKind::convolution) return reason_of_convolution(i, operand, source);
        if (node.op == Op::matmul) return SplitReason::whole_operands;
        if (reader.kind == GroupKind::single && node.op != Op::reduce)
            return reads_lines(node.op) ? SplitReason::whole_operands : SplitReason::reader_alone;
        if (node.op == Op::reduce && !is_row_sum(node, operand)) return SplitReason::reduction;
        if (source.kind == GroupKind::single)
            return nodes_[operand.ref].op == Op::matmul ? SplitReason::library_product : SplitReason::source_alone;
        if (source.kind == GroupKind::convolution) return reason_after_convolution(node, operand, source);
        if (!is_register_value(source, operand.ref)) return SplitReason::after_sum;
        if (node.op == Op::reduce) {
            if (operand.view != source.space) return SplitReason::other_shape;
            if (source.kind == GroupKind::matmul && !rules_.sums_in_products) return SplitReason::product_sum;
            return source.sums.size() >= kMaxProgramSums ? SplitReason::sums_full : SplitReason::none;
        }
        return node.op == Op::cast ? SplitReason::cast : reason_of_program(mine, other, operand);
    }

    // Of a program that reads from another one or from a product's.
    SplitReason reason_of_program(int mine, int other, const Operand& operand) const {
        const Group &reader = f_.groups[mine], &source = f_.groups[other];
        if (source.dtype != reader.dtype) return SplitReason::other_dtype;
        if (!passes_elements(source, operand) || source.space != reader.space || reads_otherwise(mine, other))
            return SplitReason::other_shape;
        if (reader.kind == GroupKind::matmul && source.kind == GroupKind::matmul) return SplitReason::two_products;
        if (source.members.size() + reader.members.size() > rules_.members) return SplitReason::operations_full;
        if (source.operands + reader.operands > rules_.operands) return SplitReason::inputs_full;
        if (source.scalars + reader.scalars > kMaxProgramScalars) return SplitReason::numbers_full;
        if (source.sums.size() + reader.sums.size() > kMaxProgramSums) return SplitReason::sums_full;
        for (size_t k = 0; k < reach_.size(); ++k)
            if (reach_[mine][k] && reach_[k][other]) return SplitReason::kernel_between;
        return SplitReason::none;
    }

    bool reads_otherwise(int mine, int other) const {
        for (int i : f_.groups[mine].members)
            for (const Operand& operand : f_.operands[i])
                if (operand.ref >= 0 && f_.group_of[operand.ref] == other &&
                    (nodes_[i].op == Op::matmul || !passes_elements(f_.groups[other], operand)))
                    return true;
        return false;
    }

    SplitReason reason_of_convolution(int i, const Operand& operand, const Group& source) const {
        const Op op = nodes_[i].op, made_by = nodes_[operand.ref].op;
        if (op == Op::pool_forward && source.kind == GroupKind::convolution &&
            (made_by == Op::conv_forward || made_by == elementwise_op(Elementwise::relu)))
            return SplitReason::convolution_shared;
        const bool gradient = op == Op::conv_backward_data || op == Op::conv_backward_filter || op == Op::conv_backward_bias;
        const bool pooled = nodes_[source.members[0]].op == Op::pool_backward;
        if (gradient && pooled && !rules_.pooling_gradients) return SplitReason::pooling_gradient;
        return SplitReason::whole_operands;
    }

    // What follows a convolution is not a part of its pass.
    SplitReason reason_after_convolution(const PlanNode& node, const Operand& operand, const Group& source) const {
        const Op op = nodes_[source.members[0]].op;
        if (op != Op::conv_forward) return SplitReason::source_alone;
        const bool relu = node.op == elementwise_op(Elementwise::relu) && operand.ref == source.members[0];
        return relu ? SplitReason::convolution_shared : SplitReason::convolution_limits;
    }

    static bool reads_lines(Op op) {
        return op == Op::softmax || op == Op::log_softmax || op == Op::cross_entropy || op == Op::cross_entropy_back;
    }

    const Plan& plan_;
    const std::vector<PlanNode>& nodes_;
    const FusionRules& rules_;
    const Fusion& f_;
    std::vector<int32_t> step_of_;
    std::vector<std::vector<char>> reach_;  // of each group, the groups that it needs
};

}  // namespace

std::vector<Split> find_splits(const Plan& plan, const FusionRules& rules) {
    if (!plan.fused) return {};
    // The values that are left over are settled, so that the groups come out as they did.
    Plan copy;
    copy.nodes = plan.nodes;
    copy.inputs = plan.inputs;
    copy.device = plan.device;
    copy.memory = plan.memory;
    const Fusion fusion = analyse(&copy, rules, true);
    return Finder(plan, rules, fusion).run();
}

}  // namespace owl
