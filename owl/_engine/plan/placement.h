// Where the arrays of a plan live.
#pragma once
#include "fusion.h"

namespace owl {

// Slots for inputs and stored values, offsets in the arena, buffers that are reused.
struct Placement {
    std::vector<int32_t> input_slot;  // by external input
    std::vector<int32_t> value_slot;  // by node (roots that are stored), -1 otherwise
    std::vector<int32_t> position_slot;  // by pooling that keeps the positions of its maxima, -1 otherwise
};

// Decides outputs, donations and the arena, and fills plan->slots, plan->outputs and plan->arena_bytes. A value of the
// arena takes the room of others that are dead when it is made.
Placement place_arrays(Plan* plan, const Fusion& fusion);

}  // namespace owl
