// From groups of operations to the steps that kernels execute.
#pragma once
#include "_engine/plan/fusion.h"

namespace owl {

// Where the arrays of a plan live: slots for inputs and stored values, offsets in the arena, buffers that are reused.
struct Placement {
    std::vector<int32_t> input_slot;  // by external input
    std::vector<int32_t> value_slot;  // by node (roots that are stored), -1 otherwise
    std::vector<int32_t> position_slot;  // by pooling that keeps the positions of its maxima, -1 otherwise
};

void lower_groups(Plan* plan, const Fusion& fusion, const Placement& placement, const KernelTable& kernels);

// The step of a convolution, a pooling or a normalization, with what shares its pass.
Step lower_convolution(const Plan& plan, const Fusion& fusion, const Placement& placement, const KernelTable& kernels,
                       const Group& group);

// Decides outputs, donations and the arena, and fills plan->slots, plan->outputs and plan->arena_bytes. A value of the
// arena takes the room of others that are dead when it is made.
Placement place_arrays(Plan* plan, const Fusion& fusion);

}  // namespace owl
