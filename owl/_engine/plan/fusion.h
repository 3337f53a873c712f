// Which operations of a plan share one pass over memory.
//
// Fusion moves values, it never changes a rounding: an element goes through the same operations in the same order whether
// its intermediate results stay in a register block or travel through memory.
#pragma once
#include <functional>

#include "fusion_conv.h"
#include "plan.h"

namespace owl {

// An operand as a kernel will read it: the array that holds the data, and how it is looked at.
struct Operand {
    Ref ref = 0;
    Shape view;             // column-major shape of the data as the consumer sees it (before `transposed`)
    bool transposed = false;  // a matrix read with its dimensions swapped
};

// elementwise and matmul run a program over registers; a convolution shares its pass as fusion_conv.h says.
enum class GroupKind : uint8_t { elementwise, matmul, convolution, single };
inline bool runs_program(GroupKind kind) { return kind == GroupKind::elementwise || kind == GroupKind::matmul; }

struct Group {
    GroupKind kind;
    DType dtype;
    Shape space;
    std::vector<int> members;  // in the order of recording; of a matmul group the product comes first
    std::vector<int> sums;     // reductions made in the same pass
    int scalars = 0, operands = 0;
    bool merged_away = false;
};

struct Fusion {
    std::vector<char> required;
    std::vector<Ref> root;                       // the array that holds a node's value: itself, or what it is an alias of
    std::vector<std::vector<Operand>> operands;  // of each required node, aliases and absorbed transposes resolved
    ConvolutionFusion convolutions;              // empty where nothing is fused
    std::vector<char> stored;                    // a root whose value goes through memory
    std::vector<char> visible;                   // a node whose value must exist after the run
    std::vector<int> group_of;                   // -1: none (aliases, dead)
    std::vector<Group> groups;
    std::vector<int> order;                      // groups in the order of execution
};

// Whether a library computes a product of m x k and k x n numbers as a whole, so that nothing shares its pass.
using WholeProduct = std::function<bool(int64_t m, int64_t n, int64_t k)>;

// What a backend's kernels can do in one pass over memory.
struct FusionRules {
    bool convolutions = true;         // bias, relu and pooling in a convolution's pass
    bool pooling_gradients = true;    // what reads a gradient that comes through a pooling takes it from the pooled one
    bool sums_in_products = true;     // row sums in a matrix product's pass
    bool sums_in_elementwise = true;  // and in that of element-wise operations
    size_t members = kMaxProgramOutputs;
    int operands = kMaxProgramInputs - 1;
    WholeProduct whole_product;  // none: for no product
};

// Settles which values are left over (plan->nodes[i].rematerializable) and how the operations are grouped.
Fusion analyse(Plan* plan, const FusionRules& rules, bool fuse);

// A sum that keeps the first of two dimensions can ride on the pass that makes its input. Where that dimension is 1, the
// sum by itself is that of one long run of numbers, which are added in another order.
bool is_row_sum(const PlanNode& node, const Operand& operand);

inline bool is_register_value(const Group& group, int node) {
    for (int sum : group.sums)
        if (sum == node) return false;
    return true;
}

}  // namespace owl
