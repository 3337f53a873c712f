// Where plans go that nothing refers to any longer. The last reference is often let go of under the graph's lock, where nothing
// may take long; what a plan holds of its device may be returned by a thread of that device alone.
#pragma once
#include <memory>

#include "plan.h"

namespace owl {

// A plan whose last reference puts it in the bin.
std::shared_ptr<Plan> new_plan();
// Without the graph's lock. Destroys what lies in the bin.
void empty_plan_bin();

}  // namespace owl
