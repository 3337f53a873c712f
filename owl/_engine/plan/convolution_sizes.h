// From a node's attributes and shapes to the sizes that kernels for convolutions, poolings and normalizations take.
#pragma once
#include "_engine/graph/convolution.h"
#include "plan.h"

namespace owl {

// `node`: one with the attributes of a convolution, in any direction.
inline ConvolutionSizes convolution_sizes(const PlanNode& node, const Shape& data, const Shape& filter, const Shape& result) {
    const auto a = attributes_of<ConvAttributes>(node);
    ConvolutionSizes sizes{};
    sizes.w = data.dim[0];
    sizes.h = data.dim[1];
    sizes.c_in = data.dim[2];
    sizes.batch = data.dim[3];
    sizes.kw = filter.dim[0];
    sizes.kh = filter.dim[1];
    sizes.c_out = result.dim[2];
    sizes.pad_w = a.pad_w;
    sizes.pad_h = a.pad_h;
    sizes.stride_w = a.stride_w;
    sizes.stride_h = a.stride_h;
    sizes.dilation_w = a.dilation_w;
    sizes.dilation_h = a.dilation_h;
    sizes.groups = a.groups;
    sizes.out_w = result.dim[0];
    sizes.out_h = result.dim[1];
    return sizes;
}

// The gradient of the bias depends on no filter: of the simplest convolution with this result.
inline ConvolutionSizes bias_gradient_sizes(const Shape& result) {
    ConvolutionSizes sizes{};
    sizes.w = sizes.out_w = result.dim[0];
    sizes.h = sizes.out_h = result.dim[1];
    sizes.c_out = result.dim[2];
    sizes.batch = result.dim[3];
    sizes.c_in = sizes.kw = sizes.kh = sizes.groups = 1;
    sizes.stride_w = sizes.stride_h = sizes.dilation_w = sizes.dilation_h = 1;
    return sizes;
}

// `pool`: a pool_forward or a pool_backward.
inline PoolWindow pool_window(const Plan& plan, int pool) {
    const PlanNode& node = plan.nodes[pool];
    const auto a = attributes_of<PoolAttributes>(node);
    const Ref gradient = node.inputs[0];
    const Shape& y = node.op == Op::pool_forward ? node.shape
                     : gradient >= 0             ? plan.nodes[gradient].shape
                                                 : plan.inputs[~gradient].shape;
    return {static_cast<PoolOp>(a.op), a.w, a.h, a.stride_w, a.stride_h, a.pad_w, a.pad_h, y.dim[0], y.dim[1]};
}

// `x`: the shape of the data.
inline PoolSizes pool_sizes(const Plan& plan, int pool, const Shape& x) {
    return {x.dim[0], x.dim[1], x.dim[2] * x.dim[3], pool_window(plan, pool)};
}

inline LrnSizes lrn_sizes(const PlanNode& node) {
    const auto a = attributes_of<LrnAttributes>(node);
    return {node.shape.dim[0] * node.shape.dim[1], node.shape.dim[2], node.shape.dim[3], a.local_size, a.alpha, a.beta};
}

}  // namespace owl
