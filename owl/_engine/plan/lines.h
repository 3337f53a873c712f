// Arrays as [inner, length, outer] around one of their dimensions, for operations along it.
#pragma once
#include "fusion.h"

namespace owl {

template <class Args>
void split_around(Args* args, const Shape& shape, int64_t dimension) {
    args->inner = args->length = args->outer = 1;
    for (int d = 0; d < shape.ndim; ++d)
        (d < dimension ? args->inner : d == dimension ? args->length : args->outer) *= shape.dim[d];
}

// Of a take, or of its gradient: the array that has all positions is the operand there, the result here.
template <class Args>
void describe_take(Args* args, const PlanNode& node, const std::vector<Operand>& operands) {
    split_around(args, node.op == Op::take ? operands[0].view : node.shape, attributes_of<TakeAttributes>(node).dimension);
    args->count = operands[1].view.size();
}

}  // namespace owl
