// Which arrays of a plan each step reads and writes, and so which steps must come after which.
#pragma once
#include <vector>

#include "_engine/plan/plan.h"

namespace owl {
namespace cuda {

// Of each of the first `count` steps the earlier ones that must be over before it begins: those that write what it reads or writes,
// or read what it writes. Steps that others stand for already are left out. The order is right for whatever buffers a run gives to
// the plan.
std::vector<std::vector<int>> dependencies(const Plan& plan, size_t count);

}  // namespace cuda
}  // namespace owl
