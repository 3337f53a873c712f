// Sums along a line of softmax, over numbers and over vectors of them: `V` is as in arithmetic.h.
#pragma once
#include "_cpu/kernels/arithmetic.h"
#include "_engine/graph/words.h"

namespace owl {
namespace OWL_ISA {

// Adds numbers one after the other, but in groups, so that the error of long sums stays small.
template <class V>
struct GroupedSum {
    V total{}, group{};
    int64_t in_group = 0;

    OWL_INLINE void add(V x) {
        group = group + x;
        if (++in_group == kSumGroup) {
            total = total + group;
            group = V{};
            in_group = 0;
        }
    }
    OWL_INLINE V result() const { return total + group; }
};

// A class that does not occur costs nothing, however impossible it is.
template <class V>
OWL_INLINE V cost(V label, V logarithm) {
    return select(ne(label, V{}), label * -logarithm, V{});
}

}  // namespace OWL_ISA
}  // namespace owl
