// Memory that kernels need for themselves, and when each value is touched first and last.
#pragma once
#include "plan.h"

namespace owl {

// Settles which steps have nothing to compute. Before place_workspaces().
void find_empty_steps(Plan* plan);

// `bytes`: of each step. In a plan with an arena one workspace at its end serves every step in turn. In one without, each step
// has its own, and says which values it is the first or the last to touch.
void place_workspaces(Plan* plan, const std::vector<size_t>& bytes);

}  // namespace owl
