// The algorithms between which the convolution kernels choose by shape.
#pragma once
#include "conv_args.h"

namespace owl {
namespace OWL_ISA {

extern const Kernel direct_forward, direct_backward_data, direct_backward_filter;
// Many small groups of channels: the direct algorithm's bits, sooner.
bool grouped_applies(const ConvArgs& a, bool adjoint);
extern const Kernel grouped_forward, grouped_backward_data, grouped_backward_filter;

// Filters of one number: the direct algorithm's bits, sooner.
bool pointwise_applies(const ConvArgs& a, bool adjoint);
extern const Kernel pointwise_forward, pointwise_backward_data;

extern const Kernel winograd_forward, winograd_backward_data, winograd_backward_filter;

}  // namespace OWL_ISA
}  // namespace owl
