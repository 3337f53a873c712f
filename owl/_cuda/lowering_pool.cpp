// Poolings, forward and backward with the relu below them: from a node's attributes and shapes to launches.
#include "_engine/plan/convolution_sizes.h"
#include "lowering.h"

namespace owl {
namespace cuda {

void lower_pool_forward(Lowered* out, const Plan& plan, const Fusion& fusion, const Placement& placement, int pool,
                        bool from_workspace) {
    const PlanNode& node = plan.nodes[static_cast<size_t>(pool)];
    const Operand& data = fusion.operands[static_cast<size_t>(pool)][0];
    StepBuilder<PoolLaunch> builder("pool_forward", nullptr, placement);
    PoolLaunch& args = builder.args;
    args.sizes = pool_sizes(plan, pool, data.view);
    args.position_bytes = 1;
    if (from_workspace)
        builder.use_workspace(args.x);
    else
        builder.point(args.x, data.ref);
    point_to_positions(&builder, placement, pool);
    builder.point(args.y, pool);
    builder.step().operations.push_back(pool);
    const size_t bytes = from_workspace ? static_cast<size_t>(data.view.size()) * dtype_size(node.dtype) : 0;
    const uint32_t blocks = blocks_for(node.shape.size(), kPoolThreads, 1);
    out->push(&builder, launch(typed(Kernel::pool_forward_f32, node.dtype), blocks), bytes);
}

// The positions of maxima are those that the forward pass kept, or a first launch finds them.
void lower_pool_backward(Lowered* out, const Plan& plan, const Fusion& fusion, const Placement& placement, const Group& group) {
    const int head = group.members[0], last = group.members.back();
    const PlanNode& node = plan.nodes[static_cast<size_t>(head)];
    const auto& operands = fusion.operands[static_cast<size_t>(head)];
    StepBuilder<PoolLaunch> builder("pool_backward", nullptr, placement);
    PoolLaunch& args = builder.args;
    args.sizes = pool_sizes(plan, head, node.shape);
    args.position_bytes = args.sizes.window.w * args.sizes.window.h <= kMaxArgmaxWindow ? 1 : sizeof(int64_t);
    builder.point(args.y_diff, operands[0].ref);
    builder.point(args.x_diff, last);
    builder.step().operations = group.members;
    const bool mean = args.sizes.window.op == PoolOp::average, masks = last != head;
    if (masks) builder.point(args.mask, mean ? fusion.operands[static_cast<size_t>(last)][1].ref : operands[1].ref);
    Call call = launch(typed(Kernel::pool_backward_f32, node.dtype), blocks_for(node.shape.size(), kPoolThreads, 1));
    if (mean) return out->push(&builder, call);
    const auto& known = fusion.convolutions.pooling_gradient;  // empty where nothing is fused
    if (!known.empty() && known[static_cast<size_t>(head)].backward == head) {
        point_to_positions(&builder, placement, known[static_cast<size_t>(head)].pool);
        return out->push(&builder, call);
    }
    const int64_t windows = operands[0].view.size();
    builder.point(args.x, operands[2].ref);
    builder.use_workspace(args.positions);
    call.n_launches = 2;
    call.launches[1] = call.launches[0];
    call.launches[0] = {typed(Kernel::pool_forward_f32, node.dtype), blocks_for(windows, kPoolThreads, 1)};
    out->push(&builder, call, static_cast<size_t>(windows * args.position_bytes));
}

}  // namespace cuda
}  // namespace owl
