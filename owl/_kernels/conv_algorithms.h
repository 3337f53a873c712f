// The algorithms between which the convolution kernels choose by shape.
#pragma once
#include "conv_args.h"

namespace owl {
namespace OWL_ISA {

extern const Kernel direct_forward, direct_backward_data, direct_backward_filter;
extern const Kernel winograd_forward, winograd_backward_data, winograd_backward_filter;

}  // namespace OWL_ISA
}  // namespace owl
