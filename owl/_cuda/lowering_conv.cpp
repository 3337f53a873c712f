// Convolutions and normalizations: from a group's attributes and shapes to launches.
//
// A convolution's pass has its bias, relu and pooling. Where the kernel cannot pool, the convolution's result goes through the
// workspace. The gradients of filter and bias share a group, and are a step each.
#include <numeric>

#include "_engine/plan/convolution_sizes.h"
#include "lowering.h"

namespace owl {
namespace cuda {
namespace {

constexpr int64_t kBlocksWanted = 1024;  // enough to fill any device
constexpr int64_t kLeastPositions = 2048;  // of a part: below, its sums cost as much as its products
constexpr int64_t kMostPartNumbers = int64_t{4} << 20;

ConvAxis forward_axis(int64_t n, int64_t taps, int64_t out, int64_t pad, int64_t stride, int64_t dilation) {
    return {n, out, taps, stride, 1, -pad, dilation, 1};
}
ConvAxis adjoint_axis(int64_t n, int64_t taps, int64_t out, int64_t pad, int64_t stride, int64_t dilation) {
    return {out, n, taps, 1, stride, pad, -dilation, stride / std::gcd(stride, dilation)};
}

class ConvolutionLowerer {
   public:
    ConvolutionLowerer(Lowered* out, const Plan& plan, const Fusion& fusion, const Placement& placement, const Group& group,
                       int node)
        : out_(*out), plan_(plan), f_(fusion), placement_(placement), group_(group), id_(node), node_(plan.nodes[node]),
          doubles_(node_.dtype == DType::f64) {}

    void run() {
        switch (node_.op) {
            case Op::conv_forward: return forward();
            case Op::conv_backward_data: return backward_data();
            case Op::conv_backward_filter: return backward_filter();
            case Op::conv_backward_bias: return backward_bias();
            case Op::lrn_backward: return lrn_backward();
            default: return lrn_forward();
        }
    }

   private:
    Ref operand(int k) const { return f_.operands[id_][k].ref; }
    const Shape& view(int k) const { return f_.operands[id_][k].view; }

    Kernel typed(Kernel first) const { return cuda::typed(first, node_.dtype); }

    // The member of the group that is this operation; -1: none.
    int member(Op op) const {
        for (int i : group_.members)
            if (plan_.nodes[i].op == op) return i;
        return -1;
    }
    template <class Args>
    StepBuilder<Args> step(const char* name) const {
        StepBuilder<Args> builder(name, nullptr, placement_);
        builder.step().operations.push_back(id_);
        return builder;
    }

    // ------------------------------------------------------------------------------------------------- convolutions

    void forward() {
        const ConvolutionSizes s = convolution_sizes(node_, view(0), view(1), node_.shape);
        const bool rounds = rounds_to_tf32(s.c_out / s.groups);
        auto builder = step<ConvLaunch>(rounds ? "conv_forward_tf32" : "conv_forward");
        ConvLaunch& args = builder.args;
        args.x = forward_axis(s.w, s.kw, s.out_w, s.pad_w, s.stride_w, s.dilation_w);
        args.y = forward_axis(s.h, s.kh, s.out_h, s.pad_h, s.stride_h, s.dilation_h);
        args.sources = s.c_in / s.groups;
        args.results = s.c_out / s.groups;
        args.source_step = s.kw * s.kh;
        args.result_step = args.source_step * args.sources;
        if (f_.operands[id_].size() > 2) builder.point(args.bias, operand(2));
        const int relu = member(elementwise_op(Elementwise::relu)), pool = member(Op::pool_forward);
        args.relu = relu >= 0;
        if (relu >= 0) builder.step().operations.push_back(relu);
        if (pool < 0) return push(&builder, s, group_.members.back());
        if (pools_in_pass(args, pool)) {
            builder.step().operations.push_back(pool);
            args.pool = pool_window(plan_, pool);
            point_to_positions(&builder, placement_, pool);
            return push(&builder, s, pool);
        }
        push(&builder, s, -1);
        lower_pool_forward(&out_, plan_, f_, placement_, pool, true);
    }

    // Without making a pixel twice.
    bool pools_in_pass(const ConvLaunch& args, int pool) const {
        const PoolWindow window = pool_window(plan_, pool);
        return args.results > kConvFewChannels && window.w * window.h == kConvPooled && window.stride_w >= window.w &&
               window.stride_h >= window.h;
    }

    void backward_data() {
        const ConvolutionSizes s = convolution_sizes(node_, node_.shape, view(1), view(0));
        const bool rounds = rounds_to_tf32(s.c_in / s.groups);
        auto builder = step<ConvLaunch>(rounds ? "conv_backward_data_tf32" : "conv_backward_data");
        ConvLaunch& args = builder.args;
        args.x = adjoint_axis(s.w, s.kw, s.out_w, s.pad_w, s.stride_w, s.dilation_w);
        args.y = adjoint_axis(s.h, s.kh, s.out_h, s.pad_h, s.stride_h, s.dilation_h);
        args.sources = s.c_out / s.groups;
        args.results = s.c_in / s.groups;
        args.result_step = s.kw * s.kh;
        args.source_step = args.result_step * args.results;
        push(&builder, s, id_);
    }

    // `results`: channels of a group. Where there are few, a tile of the tensor cores would be nearly empty.
    bool rounds_to_tf32(int64_t results) const {
        const auto precision = static_cast<Precision>(attributes_of<ConvAttributes>(node_).precision);
        return precision == Precision::high && !doubles_ && results > kConvNarrow;
    }

    // `result`: the node that the launch makes; -1: it goes through the workspace.
    void push(StepBuilder<ConvLaunch>* builder, const ConvolutionSizes& s, int result) {
        ConvLaunch& args = builder->args;
        args.groups = s.groups;
        args.batch = s.batch;
        builder->point(args.source, operand(0));
        builder->point(args.filter, operand(1));
        const size_t bytes = result >= 0 ? 0 : static_cast<size_t>(node_.shape.size()) * dtype_size(node_.dtype);
        if (result >= 0)
            builder->point(args.result, result);
        else
            builder->use_workspace(args.result);
        if (args.results <= kConvFewChannels) {
            out_.push(builder, launch(typed(Kernel::conv_single_f32), blocks_for(node_.shape.size(), kConvThreads, 1)), bytes);
            return;
        }
        const bool narrow = args.results <= kConvNarrow;
        const int64_t channels = narrow ? kConvNarrow : doubles_ ? kConvWide<double> : kConvWide<float>;
        const bool pools = args.pool.w > 0;
        const int64_t plane = pools ? args.pool.out_w * args.pool.out_h * kConvPooled
                                    : ceil_div(args.x.result, args.x.classes) * ceil_div(args.y.result, args.y.classes);
        const int64_t pixels = plane * args.batch;
        const int64_t classes = std::min(args.x.result, args.x.classes) * std::min(args.y.result, args.y.classes);
        const int64_t tiles = ceil_div(args.results, channels) * ceil_div(pixels, kConvPixels) * args.groups * classes;
        Kernel kernel = typed(pools ? narrow ? Kernel::conv_pool_narrow_f32 : Kernel::conv_pool_wide_f32
                              : narrow ? Kernel::conv_narrow_f32 : Kernel::conv_wide_f32);
        if (rounds_to_tf32(args.results)) kernel = pools ? Kernel::conv_pool_tf32 : Kernel::conv_tf32;
        out_.push(builder, launch(kernel, blocks_of(tiles)), bytes);
    }

    void backward_filter() {
        auto builder = step<ConvGradientLaunch>("conv_backward_filter");
        ConvGradientLaunch& args = builder.args;
        args.sizes = convolution_sizes(node_, view(1), node_.shape, view(0));
        builder.point(args.x, operand(1));
        const int64_t out = args.sizes.c_out / args.sizes.groups;
        const bool few = out <= kConvFewOutputs;
        const int64_t outputs = few ? kConvFewOutputs : doubles_ ? kConvOutputs<double> : kConvOutputs<float>;
        const int64_t numbers = args.sizes.c_in / args.sizes.groups * args.sizes.kw * args.sizes.kh;
        const int64_t tiles = ceil_div(out, outputs) * ceil_div(numbers, kConvNumbers) * args.sizes.groups;
        const Kernel kernel = few ? Kernel::conv_filter_few_f32 : Kernel::conv_filter_f32;
        push(&builder, kernel, tiles, kConvStretch);
    }

    void backward_bias() {
        auto builder = step<ConvGradientLaunch>("conv_backward_bias");
        builder.args.sizes = bias_gradient_sizes(view(0));
        push(&builder, Kernel::conv_bias_f32, node_.shape.size(), kConvThreads);
    }

    // `tiles`: blocks for a part, which is a multiple of so many positions. The division into parts depends on shapes alone.
    void push(StepBuilder<ConvGradientLaunch>* builder, Kernel kernel, int64_t tiles, int64_t multiple) {
        ConvGradientLaunch& args = builder->args;
        args.elements = node_.shape.size();
        const int64_t positions = args.sizes.out_w * args.sizes.out_h * args.sizes.batch;
        const int64_t wanted = std::min({ceil_div(kBlocksWanted, std::max<int64_t>(1, tiles)), positions / kLeastPositions,
                                         kMostPartNumbers / std::max<int64_t>(1, args.elements)});
        args.part_positions = ceil_div(ceil_div(positions, std::max<int64_t>(1, wanted)), multiple) * multiple;
        args.part_positions = std::max(args.part_positions, multiple);
        args.parts = std::max<int64_t>(1, ceil_div(positions, args.part_positions));
        builder->point(args.y_diff, operand(0));
        Call call = launch(typed(kernel), blocks_of(tiles * args.parts));
        if (args.parts == 1) {
            builder->point(args.part, id_);
            return out_.push(builder, call);
        }
        builder->use_workspace(args.part);
        builder->point(args.gradient, id_);
        call.n_launches = 2;
        call.launches[1] = {typed(Kernel::conv_parts_f32), blocks_for(args.elements, kConvThreads, 1)};
        out_.push(builder, call, static_cast<size_t>(args.elements * args.parts) * dtype_size(node_.dtype));
    }

    // ----------------------------------------------------------------------------------------------- normalizations

    template <class Args>
    static LrnSizes set_sizes(Args* args, const PlanNode& node) {
        const LrnSizes s = lrn_sizes(node);
        args->inner = s.inner;
        args->channels = s.channels;
        args->batch = s.batch;
        args->half = s.local_size / 2;
        args->power = -s.beta;
        return s;
    }
    uint32_t lrn_blocks() const { return blocks_for(node_.shape.size(), kLrnThreads, 1); }

    void lrn_forward() {
        auto builder = step<LrnLaunch>("lrn_forward");
        LrnLaunch& args = builder.args;
        const LrnSizes s = set_sizes(&args, node_);
        args.share = s.alpha / static_cast<double>(s.local_size);
        builder.point(args.x, operand(0));
        builder.point(node_.op == Op::lrn_scale ? args.scale : args.y, id_);
        out_.push(&builder, launch(typed(Kernel::lrn_forward_f32), lrn_blocks()));
    }

    void lrn_backward() {
        auto builder = step<LrnBackwardLaunch>("lrn_backward");
        LrnBackwardLaunch& args = builder.args;
        const LrnSizes s = set_sizes(&args, node_);
        args.factor = 2 * s.alpha * s.beta / static_cast<double>(s.local_size);
        builder.point(args.x, operand(0));
        builder.point(args.y, operand(1));
        builder.point(args.scale, operand(2));
        builder.point(args.y_diff, operand(3));
        builder.point(args.x_diff, id_);
        out_.push(&builder, launch(typed(Kernel::lrn_backward_f32), lrn_blocks()));
    }

    Lowered& out_;
    const Plan& plan_;
    const Fusion& f_;
    const Placement& placement_;
    const Group& group_;
    const int id_;
    const PlanNode& node_;
    const bool doubles_;
};

}  // namespace

void lower_convolution(Lowered* out, const Plan& plan, const Fusion& fusion, const Placement& placement, const Group& group) {
    const int head = group.members[0];
    switch (plan.nodes[static_cast<size_t>(head)].op) {
        case Op::pool_forward: return lower_pool_forward(out, plan, fusion, placement, head, false);
        case Op::pool_backward: return lower_pool_backward(out, plan, fusion, placement, group);
        case Op::conv_forward: return ConvolutionLowerer(out, plan, fusion, placement, group, head).run();
        default:
            for (int member : group.members) ConvolutionLowerer(out, plan, fusion, placement, group, member).run();
    }
}

}  // namespace cuda
}  // namespace owl
