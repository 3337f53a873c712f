// Convolutions, poolings and normalizations: from a node's attributes and shapes to a kernel's arguments, and which
// values between convolutions are in blocked layout: blocks of channels.
#include "_cpu/kernels/conv/conv_args.h"
#include "_engine/plan/convolution_sizes.h"
#include "_engine/plan/step_builder.h"

namespace owl {
namespace {

class ConvolutionLowerer {
   public:
    ConvolutionLowerer(const Plan& plan, const Fusion& fusion, const Placement& placement, const KernelTable& kernels,
                       const Group& group)
        : plan_(plan), f_(fusion), placement_(placement), kernels_(kernels), group_(group), head_(group.members[0]) {}

    Step run() const {
        switch (plan_.nodes[head_].op) {
            case Op::conv_forward: return forward();
            case Op::conv_backward_data: return backward_data();
            case Op::conv_backward_filter:
            case Op::conv_backward_bias: return backward_filter();
            case Op::pool_forward: return pool_forward();
            case Op::pool_backward: return pool_backward();
            case Op::lrn_backward: return lrn_backward();
            default: return lrn_forward();
        }
    }

   private:
    // ------------------------------------------------------------------------------------------------------ layouts
    //
    // A value of the arena that convolutions alone make and read, each by an algorithm that works on blocks of
    // channels, stays in blocked layout. Both sides ask here, so they agree.

    bool blocked(Ref ref) const {
        if (ref < 0 || !fused() || plan_.slots[placement_.value_slot[ref]].kind != Slot::arena) return false;
        const Group& maker = f_.groups[f_.group_of[ref]];
        if (maker.kind != GroupKind::convolution || maker.members.back() != ref) return false;
        if (!of(maker).writes_blocks()) return false;
        return every_operand([&](const ConvolutionLowerer& reader, int node, size_t k, const Operand& operand) {
            if (operand.ref != ref) return true;
            return operand.view == plan_.nodes[ref].shape && reader.reads_blocks(node, k);
        });
    }

    bool blocked_positions(int pool) const {
        if (!of(f_.groups[f_.group_of[pool]]).writes_blocks()) return false;
        return every_operand([&](const ConvolutionLowerer& reader, int node, size_t, const Operand&) {
            return pooling_gradient(node).pool != pool || (plan_.nodes[node].op != Op::pool_backward && reader.whole_blocks());
        });
    }

    // Does this hold of every operand of every group?
    template <class Holds>
    bool every_operand(Holds holds) const {
        for (int id : f_.order) {
            const ConvolutionLowerer reader = of(f_.groups[id]);
            for (const std::vector<int>* part : {&reader.group_.members, &reader.group_.sums})
                for (int node : *part)
                    for (size_t k = 0; k < f_.operands[node].size(); ++k)
                        if (!holds(reader, node, k, operand(node, static_cast<int>(k)))) return false;
        }
        return true;
    }
    ConvolutionLowerer of(const Group& group) const { return {plan_, f_, placement_, kernels_, group}; }

    bool convolves() const {
        const Op op = plan_.nodes[head_].op;
        return op >= Op::conv_forward && op <= Op::conv_backward_bias;
    }
    bool whole_blocks() const {
        if (!convolves()) return false;
        const ConvArgs args = shapes();
        const int64_t block = args.groups * kBlockChannels;
        return args.groups == 1 || (args.c_in % block == 0 && args.c_out % block == 0);
    }
    bool writes_blocks() const {
        const Op op = plan_.nodes[head_].op;
        return (op == Op::conv_forward || op == Op::conv_backward_data) && whole_blocks();
    }
    bool reads_blocks(int node, size_t k) const {
        if (!whole_blocks()) return false;
        const Op op = plan_.nodes[node].op;
        const FusedPoolingGradient spread = pooling_gradient(node);
        const size_t recorded = plan_.nodes[node].inputs.size();
        // What a gradient is spread by: the pooled values, and last the mask of a mean.
        if (k >= recorded) return k == recorded && spread.pool >= 0;
        if (k == 0 && op == Op::conv_forward) return conv_uses_winograd(shapes());
        if (k == 0 && op == Op::conv_backward_data) return spread.backward >= 0 || conv_uses_winograd(shapes());
        if (k == 1 && op == Op::conv_backward_filter) return filter_gradient_uses_winograd(shapes());
        return k == 0 && (op == Op::conv_backward_filter || op == Op::conv_backward_bias);
    }

    // The member that is this operation; -1: none.
    int member(Op op) const {
        for (int i : group_.members)
            if (plan_.nodes[i].op == op) return i;
        return -1;
    }
    const Operand& operand(int node, int k) const { return f_.operands[node][k]; }
    const Shape& view(int node, int k) const { return operand(node, k).view; }
    bool fused() const { return !f_.convolutions.joins.empty(); }
    FusedPoolingGradient pooling_gradient(int node) const {
        return fused() ? f_.convolutions.pooling_gradient[node] : FusedPoolingGradient();
    }

    template <class Args>
    Step finish(StepBuilder<Args>* builder) const {
        std::vector<int32_t>& operations = builder->step().operations;
        // What is spread on the way goes first: a failure of what it reads is a failure of this step.
        const FusedPoolingGradient spread = pooling_gradient(head_);
        if (spread.backward >= 0 && spread.backward != head_) operations.push_back(spread.backward);
        if (spread.relu >= 0 && spread.backward != head_) operations.push_back(spread.relu);
        operations.insert(operations.end(), group_.members.begin(), group_.members.end());
        return builder->finish();
    }

    StepBuilder<ConvArgs> convolution(const Kernel& kernel) const {
        StepBuilder<ConvArgs> builder(kernel.name, &kernel, placement_);
        builder.args = shapes();
        builder.use_workspace(builder.args.workspace);
        return builder;
    }

    // All that is known of a convolution before its arrays.
    ConvArgs shapes() const {
        ConvArgs args{};
        args.dtype = plan_.nodes[head_].dtype;
        const Op op = plan_.nodes[head_].op;
        const bool backward = op == Op::conv_backward_filter || op == Op::conv_backward_bias;
        const int filter = member(Op::conv_backward_filter), node = backward ? filter : head_;
        static_cast<ConvolutionSizes&>(args) = node >= 0 ? sizes(node) : bias_gradient_sizes(gradient_shape());
        if (node >= 0)
            args.algorithm = static_cast<ConvAlgorithm>(attributes_of<ConvAttributes>(plan_.nodes[node]).algorithm);
        return args;
    }
    ConvolutionSizes sizes(int i) const {
        const PlanNode& node = plan_.nodes[i];
        if (node.op == Op::conv_forward) return convolution_sizes(node, view(i, 0), view(i, 1), node.shape);
        if (node.op == Op::conv_backward_data) return convolution_sizes(node, node.shape, view(i, 1), gradient_shape());
        return convolution_sizes(node, view(i, 1), node.shape, gradient_shape());
    }
    const Shape& gradient_shape() const {
        const FusedPoolingGradient spread = pooling_gradient(head_);
        return spread.backward >= 0 ? plan_.nodes[spread.backward].shape : view(head_, 0);
    }

    Step forward() const {
        auto builder = convolution(kernels_.conv_forward);
        ConvArgs& args = builder.args;
        args.blocked_x = blocked(operand(head_, 0).ref);
        args.blocked_y = blocked(group_.members.back());
        if (args.blocked_y) builder.step().blocked_node = group_.members.back();
        builder.point(args.x, operand(head_, 0).ref);
        builder.point(args.filter, operand(head_, 1).ref);
        if (f_.operands[head_].size() > 2) builder.point(args.bias, operand(head_, 2).ref);
        args.relu = member(elementwise_op(Elementwise::relu)) >= 0;
        const int pool = member(Op::pool_forward);
        if (pool >= 0) {
            args.pool = pool_window(plan_, pool);
            if (placement_.position_slot[pool] >= 0) builder.point_to_slot(args.argmax, placement_.position_slot[pool]);
            args.blocked_argmax = blocked_positions(pool);
        }
        builder.point(args.y, group_.members.back());
        return finish(&builder);
    }

    // The gradient of a convolution's result: operand 0 as it is, or spread from what was pooled of it.
    void give_gradient(StepBuilder<ConvArgs>* builder, int node) const {
        ConvArgs& args = builder->args;
        builder->point(args.y_diff, operand(node, 0).ref);
        const FusedPoolingGradient spread = pooling_gradient(node);
        args.blocked_y_diff = blocked(operand(node, 0).ref);
        if (spread.backward < 0) return;
        args.pool = pool_window(plan_, spread.backward);
        args.relu = spread.relu >= 0;
        if (args.pool.op == PoolOp::max) {
            builder->point_to_slot(args.argmax, placement_.position_slot[spread.pool]);
            args.blocked_argmax = blocked_positions(spread.pool);
            args.blocked_mask = blocked(spread.pool);
        }
        if (!args.relu) return;
        const Ref data = f_.operands[node].back().ref;  // the mask, where that is of the data's size
        builder->point(args.mask, masks_by_data(plan_, spread) ? data : spread.pool);
    }

    Step backward_data() const {
        auto builder = convolution(kernels_.conv_backward_data);
        ConvArgs& args = builder.args;
        args.blocked_x_diff = blocked(head_);
        if (args.blocked_x_diff) builder.step().blocked_node = head_;
        give_gradient(&builder, head_);
        builder.point(args.filter, operand(head_, 1).ref);
        builder.point(args.x_diff, head_);
        return finish(&builder);
    }

    Step backward_filter() const {
        auto builder = convolution(kernels_.conv_backward_filter);
        ConvArgs& args = builder.args;
        give_gradient(&builder, head_);
        const int filter = member(Op::conv_backward_filter), bias = member(Op::conv_backward_bias);
        if (filter >= 0) {
            builder.point(args.x, operand(filter, 1).ref);
            args.blocked_x = blocked(operand(filter, 1).ref);
            builder.point(args.filter_diff, filter);
        }
        if (bias >= 0) builder.point(args.bias_diff, bias);
        return finish(&builder);
    }

    StepBuilder<PoolArgs> pooling(const Kernel& kernel, const Shape& x) const {
        StepBuilder<PoolArgs> builder(kernel.name, &kernel, placement_);
        PoolArgs& args = builder.args;
        args.dtype = plan_.nodes[head_].dtype;
        static_cast<PoolSizes&>(args) = pool_sizes(plan_, head_, x);
        return builder;
    }

    Step pool_forward() const {
        auto builder = pooling(kernels_.pool_forward, view(head_, 0));
        builder.point(builder.args.x, operand(head_, 0).ref);
        builder.point(builder.args.y, head_);
        const int32_t positions = placement_.position_slot[head_];
        if (positions >= 0) builder.point_to_slot(builder.args.argmax, positions);
        return finish(&builder);
    }

    Step pool_backward() const {
        auto builder = pooling(kernels_.pool_backward, plan_.nodes[head_].shape);
        PoolArgs& args = builder.args;
        const FusedPoolingGradient spread = pooling_gradient(head_);
        builder.point(args.y_diff, operand(head_, 0).ref);
        builder.point(args.y, operand(head_, 1).ref);
        args.relu = group_.members.size() > 1;
        if (args.window.op == PoolOp::average) {
            if (args.relu) builder.point(args.x, operand(group_.members.back(), 1).ref);
        } else if (spread.backward >= 0) {
            builder.point_to_slot(args.argmax, placement_.position_slot[spread.pool]);
        } else {
            builder.point(args.x, operand(head_, 2).ref);
        }
        builder.point(args.x_diff, group_.members.back());
        return finish(&builder);
    }

    StepBuilder<LrnArgs> normalization(const Kernel& kernel) const {
        StepBuilder<LrnArgs> builder(kernel.name, &kernel, placement_);
        LrnArgs& args = builder.args;
        const PlanNode& node = plan_.nodes[head_];
        args.dtype = node.dtype;
        static_cast<LrnSizes&>(args) = lrn_sizes(node);
        return builder;
    }

    Step lrn_forward() const {
        auto builder = normalization(kernels_.lrn_forward);
        builder.point(builder.args.x, operand(head_, 0).ref);
        if (plan_.nodes[head_].op == Op::lrn_scale) builder.point(builder.args.scale, head_);
        else builder.point(builder.args.y, head_);
        return finish(&builder);
    }

    Step lrn_backward() const {
        auto builder = normalization(kernels_.lrn_backward);
        builder.point(builder.args.x, operand(head_, 0).ref);
        builder.point(builder.args.y, operand(head_, 1).ref);
        builder.point(builder.args.scale, operand(head_, 2).ref);
        builder.point(builder.args.y_diff, operand(head_, 3).ref);
        builder.point(builder.args.x_diff, head_);
        return finish(&builder);
    }

    const Plan& plan_;
    const Fusion& f_;
    const Placement& placement_;
    const KernelTable& kernels_;
    const Group& group_;
    const int head_;
};

}  // namespace

Step lower_convolution(const Plan& plan, const Fusion& fusion, const Placement& placement, const KernelTable& kernels,
                       const Group& group) {
    return ConvolutionLowerer(plan, fusion, placement, kernels, group).run();
}

}  // namespace owl
