// Why a kernel does not share the pass of one that it reads from: for owl.explain, which asks about finished plans.
#pragma once
#include <vector>

#include "fusion.h"

namespace owl {

// In the order of owl/_explain/splits.py.
enum class SplitReason : uint8_t {
    none,               // a reader would not expect them to be one
    source_alone,       // nothing shares the pass of such an operation
    reader_alone,       // nor does it share another's
    whole_operands,     // the reader needs more of its operand than the element in hand
    library_product,    // a library computes the product as a whole
    two_products,       // a pass has one product
    product_sum,        // a product's pass makes no sums on this device
    reduction,          // only a sum over columns of a matrix shares a pass
    after_sum,          // a sum is complete at the end of its pass
    other_shape,        // the reader walks through the value in another way
    other_dtype,
    cast,
    operations_full,    // the program would have too many operations, inputs, numbers or sums
    inputs_full,
    numbers_full,
    sums_full,
    kernel_between,     // a third kernel needs the one and is needed by the other
    convolution_shared,  // a convolution's value has more readers than the one that could share its pass
    convolution_limits,  // a convolution's pass has its bias, a relu and a pooling
    pooling_windows,    // the kernel of a convolution cannot pool so
    pooling_gradient,   // a pooling's gradient is not made by its readers on this device
};

// Steps by their numbers: `reader` reads the value of the node `value`, which `source` makes, for its node `node`.
struct Split {
    int32_t reader, source;
    int32_t node, value;
    SplitReason reason;
};

// One for each pair of steps of which one reads from the other. Plans that were compiled without fusion have none.
std::vector<Split> find_splits(const Plan& plan, const FusionRules& rules);

}  // namespace owl
