#include "operation.h"

namespace owl {
namespace {

const ElementwiseInfo kElementwise[] = {
#define OWL_ELEMENTWISE(name, arity, expression, derivatives) {#name, arity, derivatives},
#include "operations.def"
#undef OWL_ELEMENTWISE
};

const char* const kStructured[] = {
    "leaf", "astype", "matmul", "trans", "reshape", "slice", "concat", "reduce", "softmax", "log_softmax", "cross_entropy",
    "cross_entropy_back", "random", "to_device",
    "conv_forward", "conv_backward_data", "conv_backward_filter", "conv_backward_bias", "pool_forward", "pool_backward",
    "lrn_forward", "lrn_scale", "lrn_backward"};
static_assert(sizeof(kStructured) / sizeof(*kStructured) == kOperations - static_cast<int>(Elementwise::count_),
              "a name for each operation");

}  // namespace

const ElementwiseInfo& elementwise_info(int op) { return kElementwise[op]; }

const char* operation_name(Op op) {
    const int number = static_cast<int>(op);
    if (is_elementwise(op)) return kElementwise[number].name;
    return kStructured[number - static_cast<int>(Elementwise::count_)];
}

}  // namespace owl
