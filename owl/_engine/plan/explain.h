// How owl.explain tells of an operation.
#pragma once
#include "plan.h"

namespace owl {

// As a user would write it.
const char* shown_name(const PlanNode& node);
// The dimensions that it is told to work along.
std::vector<int> shown_dimensions(const PlanNode& node);

}  // namespace owl
