// The operations that are not element-wise. Element-wise ones are listed in operations.def and have the numbers
// 0 … Elementwise::count_ - 1; these follow.
#pragma once
#include "types.h"

namespace owl {

enum class Op : uint16_t {
    leaf = static_cast<uint16_t>(Elementwise::count_),  // exists from the start (from_numpy), or is promised
    cast,         // astype
    matmul,
    transpose,    // attribute 0: the source dimension of each dimension, 4 bits each
    reshape,
    slice,        // attribute d: stride of dimension d in the source; argument 0: offset
    concat,       // attribute 0: dimension
    reduce,       // attribute 0: Reduction; 1: bit mask of axes; 2: 1 for a mean
    softmax,      // attribute 0: first dimension of the group; 1: one past its last
    log_softmax,         // likewise
    cross_entropy,       // of the columns of x [classes, n] and labels
    cross_entropy_back,  // likewise
    random,       // attribute 0: Distribution; arguments: seed, stream, counter
    to_device,
    // Attributes of a convolution: padding, stride and dilation, each horizontal and vertical; groups; ConvAlgorithm.
    conv_forward,          // x, filter and perhaps bias
    conv_backward_data,    // y_diff, filter
    conv_backward_filter,  // y_diff, x
    conv_backward_bias,    // y_diff
    // Attributes of a pooling: PoolOp; size, stride and padding, each horizontal and vertical.
    pool_forward,   // x
    pool_backward,  // y_diff, y, x
    // Attributes of a normalization: channels; alpha and beta as the bits of doubles.
    lrn_forward,   // x
    lrn_scale,     // x
    lrn_backward,  // x, y, scale, y_diff
    count_
};

constexpr bool is_elementwise(Op op) { return static_cast<uint16_t>(op) < static_cast<uint16_t>(Elementwise::count_); }
constexpr Op elementwise_op(Elementwise op) { return static_cast<Op>(op); }
constexpr int kOperations = static_cast<int>(Op::count_);

const char* operation_name(Op op);

// One row of operations.def.
struct ElementwiseInfo {
    const char* name;
    int arity;
    const char* derivatives;
};
const ElementwiseInfo& elementwise_info(int op);

}  // namespace owl
