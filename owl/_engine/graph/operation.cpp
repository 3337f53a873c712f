#include "operation.h"

namespace owl {
namespace {

const ElementwiseInfo kElementwise[] = {
#define OWL_ELEMENTWISE(name, arity, expression, derivatives) {#name, arity, derivatives},
#include "operations.def"
#undef OWL_ELEMENTWISE
};

const char* const kStructured[] = {
#define OWL_STRUCTURED(name, shown, attributes) shown,
#include "structured.def"
#undef OWL_STRUCTURED
};

}  // namespace

const ElementwiseInfo& elementwise_info(int op) { return kElementwise[op]; }

const char* operation_name(Op op) {
    const int number = static_cast<int>(op);
    if (is_elementwise(op)) return kElementwise[number].name;
    return kStructured[number - static_cast<int>(Elementwise::count_)];
}

}  // namespace owl
