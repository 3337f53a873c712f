#include "explain.h"

namespace owl {

const char* shown_name(const PlanNode& node) {
    if (node.op == elementwise_op(Elementwise::copy) && node.inputs.empty()) return "full";
    if (node.op == Op::random) {
        static constexpr const char* kNames[] = {"randn", "randb", "randu"};
        return kNames[attributes_of<RandomAttributes>(node).distribution];
    }
    if (node.op == Op::reduce) {
        static constexpr const char* kNames[] = {"sum", "max", "min", "argmax", "argmin"};
        const auto attributes = attributes_of<ReduceAttributes>(node);
        return attributes.mean ? "mean" : kNames[attributes.reduction];
    }
    return operation_name(node.op);
}

std::vector<int> shown_dimensions(const PlanNode& node) {
    std::vector<int> dimensions;
    if (node.op == Op::concat) dimensions.push_back(static_cast<int>(attributes_of<ConcatAttributes>(node).dimension));
    if (node.op == Op::reduce)
        for (int d = 0; d < kMaxDims; ++d)
            if (attributes_of<ReduceAttributes>(node).axes >> d & 1) dimensions.push_back(d);
    return dimensions;
}

}  // namespace owl
