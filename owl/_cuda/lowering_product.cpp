// Matrix products with the operations that share their pass: from a group to launches.
#include "lowering.h"

namespace owl {
namespace cuda {

void lower_product(Lowered* out, Plan*, const Fusion& fusion, const Placement& placement, int group) {
    lower_missing(out, placement, fusion.groups[static_cast<size_t>(group)]);
}

}  // namespace cuda
}  // namespace owl
