// Operations that only move numbers, as copies between strided regions.
#pragma once
#include <algorithm>
#include <cassert>

#include "fusion.h"
#include "step_builder.h"
#include "strides.h"

namespace owl {

// The operations that are such copies on every device.
constexpr bool only_moves(Op op) {
    switch (op) {
        case Op::transpose:
        case Op::slice:
        case Op::concat: return true;
        default: return false;
    }
}

// The copies that a transpose, slice, concatenation or transfer is, each handed to push(). `Args` has ndim, shape, src and dst with
// their strides, in elements; `blank` is a builder with nothing of the node in it.
template <class Args, class Push>
void lower_copies(const PlanNode& node, int i, const std::vector<Operand>& operands, const StepBuilder<Args>& blank, Push push) {
    int64_t dense[kMaxDims] = {};
    dense_strides(node.shape, dense);
    const auto item = static_cast<int64_t>(dtype_size(node.dtype));
    int64_t offset = 0;  // elements, to where the next part of a concatenation goes
    for (const Operand& operand : operands) {
        StepBuilder<Args> builder = blank;
        Args& args = builder.args;
        args.ndim = node.shape.ndim;
        std::copy_n(node.shape.dim, node.shape.ndim, args.shape);
        std::copy_n(dense, node.shape.ndim, args.dst_stride);
        dense_strides(operand.view, args.src_stride);
        int32_t argument = -1;
        if (node.op == Op::transpose) {
            int64_t source[kMaxDims];
            std::copy_n(args.src_stride, node.shape.ndim, source);
            const auto order = attributes_of<TransposeAttributes>(node);
            for (int d = 0; d < node.shape.ndim; ++d) args.src_stride[d] = source[order.source(d)];
        } else if (node.op == Op::slice) {
            std::copy_n(attributes_of<SliceAttributes>(node).stride, node.shape.ndim, args.src_stride);
            argument = node.first_argument;
        }
        builder.point(args.src, operand.ref, 0, argument, static_cast<size_t>(argument < 0 ? 0 : item));
        builder.point(args.dst, i, offset * item);
        if (node.op == Op::concat) {
            const auto dim = attributes_of<ConcatAttributes>(node).dimension;
            args.shape[dim] = operand.view.dim[dim];
            builder.step().continues = offset > 0;
            offset += operand.view.dim[dim] * dense[dim];
        }
        push(&builder);
    }
}

}  // namespace owl
