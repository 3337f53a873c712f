// Operations by number: element-wise ones, rows of operations.def, then those of structured.def.
#pragma once
#include "attributes.h"
#include "types.h"

namespace owl {

enum class Op : uint16_t {
    last_elementwise = static_cast<uint16_t>(Elementwise::count_) - 1,
#define OWL_STRUCTURED(name, shown, attributes) name,
#include "structured.def"
#undef OWL_STRUCTURED
    count_
};

constexpr bool is_elementwise(Op op) { return static_cast<uint16_t>(op) < static_cast<uint16_t>(Elementwise::count_); }
constexpr Op elementwise_op(Elementwise op) { return static_cast<Op>(op); }
constexpr int kOperations = static_cast<int>(Op::count_);

const char* operation_name(Op op);

// How many words of attributes nodes of an operation have.
constexpr int attribute_words(Op op) {
    switch (op) {
#define OWL_STRUCTURED(name, shown, attributes) \
    case Op::name: return words_of<attributes>();
#include "structured.def"
#undef OWL_STRUCTURED
        default: return 0;
    }
}

// One row of operations.def.
struct ElementwiseInfo {
    const char* name;
    int arity;
    const char* derivatives;
};
const ElementwiseInfo& elementwise_info(int op);

}  // namespace owl
