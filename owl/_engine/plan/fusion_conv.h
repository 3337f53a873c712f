// What convolutions, poolings and the operations around them do in one pass.
//
// Forward: convolution, relu and pooling. The pooling keeps, beside its result, the position of each maximum in a byte.
// Backward: a gradient that comes through a pooling, and perhaps a relu below it, is spread out by those who need it. A
// maximum's, from the pooled gradient, the positions and the pooled values, so neither what was pooled nor the spread
// gradient goes through memory. A mean's, from the pooled gradient and, for a relu, from what was pooled: a mean does
// not tell which of its numbers were above 0. The gradients of filter and bias are made together.
#pragma once
#include <vector>

#include "plan.h"

namespace owl {

// The way back through a pooling.
struct FusedPoolingGradient {
    int32_t backward = -1;  // the pool_backward; -1: none
    int32_t pool = -1;      // the pool_forward that it undoes; -1: not in this plan, which only a mean can do without
    int32_t relu = -1;      // the relu_back below the pooling; -1: none
};

struct ConvolutionFusion {
    std::vector<int32_t> joins;         // the earlier operation whose pass an operation shares; -1: none
    // Of the gradient that an operation reads, or that a pool_backward makes.
    std::vector<FusedPoolingGradient> pooling_gradient;
    std::vector<char> keeps_positions;  // a pool_forward the positions of whose maxima are needed
};

bool is_convolution(Op op);

// Is a spread gradient masked by its relu's operand, rather than by the pooled values before it is spread?
bool masks_by_data(const Plan& plan, const FusedPoolingGradient& pooling_gradient);

// What an operation reads as it is fused: others than were recorded, where it spreads a gradient.
std::vector<Ref> fused_inputs(const Plan& plan, const ConvolutionFusion& fusion, int node);

// `root`: of each node the array that holds its value. `pooling_gradients`: a rule of the backend's.
ConvolutionFusion find_convolutions(const Plan& plan, const std::vector<Ref>& root, bool pooling_gradients);

}  // namespace owl
