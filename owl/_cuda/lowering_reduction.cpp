// Reductions, softmax and the cross entropy: from a node to launches.
#include "lowering.h"

namespace owl {
namespace cuda {
namespace {

constexpr int64_t kFewOutputs = 1 << 15;  // below, groups of numbers have threads of their own

void add(ReduceWalk* walk, int64_t count, int64_t stride) {
    walk->count[walk->ndim] = count;
    walk->stride[walk->ndim++] = stride;
    walk->total *= count;
}

// Neighboring dimensions that are both reduced or both kept are one.
void describe(ReduceLaunch* a, const Shape& shape, uint32_t axes) {
    int64_t count[kMaxDims], stride[kMaxDims], step = 1;
    bool reduced[kMaxDims], nothing = false;
    int n = 0;
    for (int d = 0; d < shape.ndim; ++d) nothing = nothing || ((axes >> d & 1) && shape.dim[d] == 0);
    for (int d = 0; d < shape.ndim; step *= shape.dim[d++]) {
        const bool drop = axes >> d & 1;
        if (shape.dim[d] == 1) continue;
        // Where one reduced dimension is empty, all are: the product of the others may be beyond an integer.
        const int64_t numbers = nothing && drop ? 0 : shape.dim[d];
        if (n && reduced[n - 1] == drop) {
            count[n - 1] *= numbers;
            continue;
        }
        count[n] = numbers;
        stride[n] = step;
        reduced[n++] = drop;
    }
    a->kept.total = a->reduced.total = a->run = 1;
    const bool runs = n && reduced[0] && !nothing;
    if (runs) a->run = count[0];
    for (int k = runs; k < n; ++k) add(reduced[k] ? &a->reduced : &a->kept, count[k], stride[k]);
}

void lower_reduce(Lowered* out, const Fusion& fusion, const Placement& placement, const PlanNode& node, int i) {
    StepBuilder<ReduceLaunch> builder("reduce", nullptr, placement);
    const Operand& operand = fusion.operands[static_cast<size_t>(i)][0];
    ReduceLaunch& args = builder.args;
    const auto attributes = attributes_of<ReduceAttributes>(node);
    args.op = static_cast<Reduction>(attributes.reduction);
    describe(&args, operand.view, static_cast<uint32_t>(attributes.axes));
    const int64_t count = operand.view.size() / std::max<int64_t>(1, node.shape.size());
    args.scale = attributes.mean ? 1.0 / static_cast<double>(count) : 1.0;
    args.pieces = ceil_div(args.run, kReducePiece);
    args.groups = 1;
    builder.point(args.x, operand.ref);
    builder.point(args.y, i);
    builder.step().operations.push_back(i);

    const bool is_long = args.run > kReduceShortRun;
    const int64_t outputs = args.kept.total;
    const uint32_t threads = blocks_for(outputs, kReduceThreads, 1);
    if (is_position(args.op))
        return out->push(&builder,
                         is_long ? launch(typed(Kernel::argmax_long_f32, node.dtype), blocks_of(outputs))
                                 : launch(typed(Kernel::argmax_lines_f32, node.dtype), threads));
    Call call;
    bool split;
    if (is_long) {
        const int64_t pieces = args.pieces * args.reduced.total;
        args.groups = ceil_div(pieces, kReducePieces);
        split = args.groups > 1;
        const int64_t units = split ? outputs * args.groups : ceil_div(outputs, kReducePieces / std::max<int64_t>(1, pieces));
        call = launch(typed(Kernel::reduce_pieces_f32, node.dtype), blocks_of(units));
        call.launches[1] = {typed(Kernel::reduce_pairs_f32, node.dtype), blocks_of(outputs)};
    } else {
        args.groups = std::max<int64_t>(1, ceil_div(args.reduced.total, kSumGroup));
        split = args.groups > 1 && outputs < kFewOutputs;
        call = launch(typed(Kernel::reduce_lines_f32, node.dtype),
                      blocks_for(split ? outputs * args.groups : outputs, kReduceThreads, 1));
        call.launches[1] = {typed(Kernel::reduce_groups_f32, node.dtype), threads};
    }
    if (split) {
        call.n_launches = 2;
        builder.use_workspace(args.part);
    }
    out->push(&builder, call, split ? static_cast<size_t>(outputs * args.groups) * dtype_size(node.dtype) : 0);
}

void lower_softmax(Lowered* out, const Fusion& fusion, const Placement& placement, const PlanNode& node, int i,
                   SoftmaxKind kind) {
    StepBuilder<SoftmaxLaunch> builder("softmax", nullptr, placement);
    SoftmaxLaunch& args = builder.args;
    const auto& operands = fusion.operands[static_cast<size_t>(i)];
    const Shape& shape = operands[0].view;
    const auto group = attributes_of<SoftmaxAttributes>(node);
    args.kind = kind;
    args.inner = args.length = args.outer = 1;
    for (int d = 0; d < shape.ndim; ++d)
        (d < group.first ? args.inner : d < group.end ? args.length : args.outer) *= shape.dim[d];
    builder.point(args.x, operands[0].ref);
    if (kind == SoftmaxKind::loss || kind == SoftmaxKind::difference) builder.point(args.label, operands[1].ref);
    builder.point(args.y, i);
    builder.step().operations.push_back(i);
    if (args.inner == 1 && args.length > kSoftmaxShortLine) {
        const int64_t lanes = kSoftmaxLaneBytes / static_cast<int64_t>(dtype_size(node.dtype));
        const uint32_t blocks = blocks_of(ceil_div(args.outer, kSoftmaxThreads / lanes));
        return out->push(&builder, launch(typed(Kernel::softmax_long_f32, node.dtype), blocks));
    }
    const uint32_t blocks = blocks_for(args.inner * args.outer, kSoftmaxThreads, 1);
    out->push(&builder, launch(typed(Kernel::softmax_lines_f32, node.dtype), blocks));
}

}  // namespace

void lower_reduction(Lowered* out, const Plan& plan, const Fusion& fusion, const Placement& placement, int i) {
    const PlanNode& node = plan.nodes[static_cast<size_t>(i)];
    switch (node.op) {
        case Op::reduce: return lower_reduce(out, fusion, placement, node, i);
        case Op::softmax: return lower_softmax(out, fusion, placement, node, i, SoftmaxKind::plain);
        case Op::log_softmax: return lower_softmax(out, fusion, placement, node, i, SoftmaxKind::logarithm);
        case Op::cross_entropy: return lower_softmax(out, fusion, placement, node, i, SoftmaxKind::loss);
        default: return lower_softmax(out, fusion, placement, node, i, SoftmaxKind::difference);
    }
}

}  // namespace cuda
}  // namespace owl
