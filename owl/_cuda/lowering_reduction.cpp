// Reductions, softmax and what is made of it: from a node to launches.
#include "lowering.h"

namespace owl {
namespace cuda {

void lower_reduction(Lowered* out, const Plan&, const Fusion& fusion, const Placement& placement, int node) {
    lower_missing(out, placement, fusion.groups[static_cast<size_t>(fusion.group_of[static_cast<size_t>(node)])]);
}

}  // namespace cuda
}  // namespace owl
