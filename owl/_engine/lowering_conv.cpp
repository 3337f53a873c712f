// Convolutions, poolings and normalizations: from a node's attributes and shapes to a kernel's arguments.
#include "../_kernels/conv_args.h"
#include "step_builder.h"

namespace owl {
namespace {

class ConvolutionLowerer {
   public:
    ConvolutionLowerer(const Plan& plan, const Fusion& fusion, const Placement& placement, const KernelTable& kernels,
                       int node)
        : node_(plan.nodes[node]), operands_(fusion.operands[node]), placement_(placement), kernels_(kernels), i_(node) {}

    Step run() const {
        switch (node_.op) {
            case Op::conv_forward: return forward();
            case Op::conv_backward_data: return backward_data();
            case Op::conv_backward_filter: return backward_filter();
            case Op::conv_backward_bias: return backward_bias();
            case Op::pool_forward: return pool_forward();
            case Op::pool_backward: return pool_backward();
            case Op::lrn_backward: return lrn_backward();
            default: return lrn_forward();
        }
    }

   private:
    const Shape& view(int operand) const { return operands_[operand].view; }

    template <class Args>
    Step finish(StepBuilder<Args>* builder) const {
        builder->step().operations.push_back(i_);
        return builder->finish();
    }

    // Shapes of data, filters and result.
    StepBuilder<ConvArgs> convolution(const Kernel& kernel, const Shape& x, const Shape& filter, const Shape& y) const {
        StepBuilder<ConvArgs> builder(kernel, placement_);
        ConvArgs& args = builder.args;
        args.dtype = node_.dtype;
        args.w = x.dim[0];
        args.h = x.dim[1];
        args.c_in = x.dim[2];
        args.batch = x.dim[3];
        args.kw = filter.dim[0];
        args.kh = filter.dim[1];
        args.c_out = y.dim[2];
        args.out_w = y.dim[0];
        args.out_h = y.dim[1];
        const int64_t* attribute = node_.attribute;
        args.pad_w = attribute[0];
        args.pad_h = attribute[1];
        args.stride_w = attribute[2];
        args.stride_h = attribute[3];
        args.dilation_w = attribute[4];
        args.dilation_h = attribute[5];
        args.groups = attribute[6];
        args.algorithm = static_cast<ConvAlgorithm>(attribute[7]);
        builder.use_workspace(args.workspace);
        return builder;
    }

    Step forward() const {
        auto builder = convolution(kernels_.conv_forward, view(0), view(1), node_.shape);
        builder.point(builder.args.x, operands_[0].ref);
        builder.point(builder.args.filter, operands_[1].ref);
        if (operands_.size() > 2) builder.point(builder.args.bias, operands_[2].ref);
        builder.point(builder.args.y, i_);
        return finish(&builder);
    }

    Step backward_data() const {
        auto builder = convolution(kernels_.conv_backward_data, node_.shape, view(1), view(0));
        builder.point(builder.args.y_diff, operands_[0].ref);
        builder.point(builder.args.filter, operands_[1].ref);
        builder.point(builder.args.x_diff, i_);
        return finish(&builder);
    }

    Step backward_filter() const {
        auto builder = convolution(kernels_.conv_backward_filter, view(1), node_.shape, view(0));
        builder.point(builder.args.y_diff, operands_[0].ref);
        builder.point(builder.args.x, operands_[1].ref);
        builder.point(builder.args.filter_diff, i_);
        return finish(&builder);
    }

    // The gradient of the bias depends on no filter: the simplest convolution that has this result will do.
    Step backward_bias() const {
        const Shape& y = view(0);
        StepBuilder<ConvArgs> builder(kernels_.conv_backward_filter, placement_);
        ConvArgs& args = builder.args;
        args.dtype = node_.dtype;
        args.w = args.out_w = y.dim[0];
        args.h = args.out_h = y.dim[1];
        args.c_out = y.dim[2];
        args.batch = y.dim[3];
        args.c_in = args.kw = args.kh = args.groups = 1;
        args.stride_w = args.stride_h = args.dilation_w = args.dilation_h = 1;
        builder.use_workspace(args.workspace);
        builder.point(args.y_diff, operands_[0].ref);
        builder.point(args.bias_diff, i_);
        return finish(&builder);
    }

    StepBuilder<PoolArgs> pooling(const Kernel& kernel, const Shape& x, const Shape& y) const {
        StepBuilder<PoolArgs> builder(kernel, placement_);
        PoolArgs& args = builder.args;
        args.dtype = node_.dtype;
        args.w = x.dim[0];
        args.h = x.dim[1];
        args.planes = x.dim[2] * x.dim[3];
        const int64_t* attribute = node_.attribute;
        args.window = {static_cast<PoolOp>(attribute[0]), attribute[1], attribute[2], attribute[3], attribute[4],
                       attribute[5], attribute[6], y.dim[0], y.dim[1]};
        return builder;
    }

    Step pool_forward() const {
        auto builder = pooling(kernels_.pool_forward, view(0), node_.shape);
        builder.point(builder.args.x, operands_[0].ref);
        builder.point(builder.args.y, i_);
        return finish(&builder);
    }

    Step pool_backward() const {
        auto builder = pooling(kernels_.pool_backward, node_.shape, view(0));
        builder.point(builder.args.y_diff, operands_[0].ref);
        builder.point(builder.args.y, operands_[1].ref);
        builder.point(builder.args.x, operands_[2].ref);
        builder.point(builder.args.x_diff, i_);
        return finish(&builder);
    }

    StepBuilder<LrnArgs> normalization(const Kernel& kernel) const {
        StepBuilder<LrnArgs> builder(kernel, placement_);
        LrnArgs& args = builder.args;
        args.dtype = node_.dtype;
        args.inner = node_.shape.dim[0] * node_.shape.dim[1];
        args.channels = node_.shape.dim[2];
        args.batch = node_.shape.dim[3];
        args.local_size = node_.attribute[0];
        std::memcpy(&args.alpha, &node_.attribute[1], sizeof(double));
        std::memcpy(&args.beta, &node_.attribute[2], sizeof(double));
        return builder;
    }

    Step lrn_forward() const {
        auto builder = normalization(kernels_.lrn_forward);
        builder.point(builder.args.x, operands_[0].ref);
        if (node_.op == Op::lrn_scale) builder.point(builder.args.scale, i_);
        else builder.point(builder.args.y, i_);
        return finish(&builder);
    }

    Step lrn_backward() const {
        auto builder = normalization(kernels_.lrn_backward);
        builder.point(builder.args.x, operands_[0].ref);
        builder.point(builder.args.y, operands_[1].ref);
        builder.point(builder.args.scale, operands_[2].ref);
        builder.point(builder.args.y_diff, operands_[3].ref);
        builder.point(builder.args.x_diff, i_);
        return finish(&builder);
    }

    const PlanNode& node_;
    const std::vector<Operand>& operands_;
    const Placement& placement_;
    const KernelTable& kernels_;
    const int i_;
};

}  // namespace

Step lower_convolution(const Plan& plan, const Fusion& fusion, const Placement& placement, const KernelTable& kernels,
                       int node) {
    return ConvolutionLowerer(plan, fusion, placement, kernels, node).run();
}

}  // namespace owl
