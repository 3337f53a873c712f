// Convolutions, poolings and normalizations: from a group to launches.
#include "lowering.h"

namespace owl {
namespace cuda {

void lower_convolution(Lowered* out, const Plan&, const Fusion&, const Placement& placement, const Group& group) {
    lower_missing(out, placement, group);
}

}  // namespace cuda
}  // namespace owl
