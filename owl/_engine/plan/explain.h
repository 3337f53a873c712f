// How owl.explain tells of an operation.
#pragma once
#include "plan.h"

namespace owl {

// As a user would write it.
const char* shown_name(const PlanNode& node);
// The dimensions that it is told to work along.
std::vector<int> shown_dimensions(const PlanNode& node);
// So many of a plan's first steps the device last took in one call.
inline int32_t steps_together(const Plan& plan) { return plan.steps_together.load(std::memory_order_relaxed); }

}  // namespace owl
