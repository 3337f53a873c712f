// What lowering.cpp leaves to lowering_conv.cpp.
#pragma once
#include "backend.h"

namespace owl {

// The step of a convolution, a pooling or a normalization, with what shares its pass.
Step lower_convolution(const Plan& plan, const Fusion& fusion, const Placement& placement, const KernelTable& kernels,
                       const Group& group);

}  // namespace owl
