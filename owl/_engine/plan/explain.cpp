#include "explain.h"

namespace owl {

const char* shown_name(const PlanNode& node) {
    if (node.op == elementwise_op(Elementwise::copy) && node.inputs.empty()) return "full";
    if (node.op == Op::random) {
        static constexpr const char* kNames[] = {"randn", "randb", "randu"};
        return kNames[node.attribute[0]];
    }
    if (node.op == Op::reduce) {
        static constexpr const char* kNames[] = {"sum", "max", "min", "argmax"};
        return node.attribute[2] ? "mean" : kNames[node.attribute[0]];
    }
    return operation_name(node.op);
}

std::vector<int> shown_dimensions(const PlanNode& node) {
    std::vector<int> dimensions;
    if (node.op == Op::concat) dimensions.push_back(static_cast<int>(node.attribute[0]));
    if (node.op == Op::reduce)
        for (int d = 0; d < kMaxDims; ++d)
            if (node.attribute[1] >> d & 1) dimensions.push_back(d);
    return dimensions;
}

}  // namespace owl
