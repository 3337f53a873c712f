// Running sums and takes along a dimension: from a node to launches.
#include "lowering.h"

#include "_engine/plan/lines.h"

namespace owl {
namespace cuda {
namespace {

constexpr int64_t kFewLines = 1 << 12;  // below, a long line has a block

void lower_cumsum(Lowered* out, const Fusion& fusion, const Placement& placement, const PlanNode& node, int i) {
    StepBuilder<CumsumLaunch> builder("cumsum", nullptr, placement);
    const auto attributes = attributes_of<CumsumAttributes>(node);
    CumsumLaunch& args = builder.args;
    split_around(&args, node.shape, attributes.dimension);
    args.reverse = attributes.reverse;
    builder.point(args.x, fusion.operands[static_cast<size_t>(i)][0].ref);
    builder.point(args.y, i);
    builder.step().operations.push_back(i);
    const int64_t lines = args.inner * args.outer;
    if (args.length > kScanPiece && (args.inner == 1 || lines < kFewLines))
        return out->push(&builder, launch(typed(Kernel::cumsum_long_f32, node.dtype), blocks_of(lines)));
    out->push(&builder, launch(typed(Kernel::cumsum_lines_f32, node.dtype), blocks_for(lines, kCumsumThreads, 1)));
}

void lower_take(Lowered* out, const Fusion& fusion, const Placement& placement, const PlanNode& node, int i) {
    const bool back = node.op == Op::take_back;
    StepBuilder<TakeLaunch> builder(back ? "take_back" : "take", nullptr, placement);
    TakeLaunch& args = builder.args;
    const auto& operands = fusion.operands[static_cast<size_t>(i)];
    describe_take(&args, node, operands);
    args.back = back;
    builder.point(args.x, operands[0].ref);
    builder.point(args.indices, operands[1].ref);
    builder.point(args.y, i);
    builder.step().operations.push_back(i);
    const Kernel kernel = typed(back ? Kernel::take_back_f32 : Kernel::take_f32, node.dtype);
    const int64_t units = back ? ceil_div(args.inner * args.length, kTakeThreads) * args.outer
                               : ceil_div(node.shape.size(), kTakeThreads);
    out->push(&builder, launch(kernel, blocks_of(units)));
}

}  // namespace

void lower_line(Lowered* out, const Plan& plan, const Fusion& fusion, const Placement& placement, int i) {
    const PlanNode& node = plan.nodes[static_cast<size_t>(i)];
    if (node.op == Op::cumsum) return lower_cumsum(out, fusion, placement, node, i);
    lower_take(out, fusion, placement, node, i);
}

}  // namespace cuda
}  // namespace owl
