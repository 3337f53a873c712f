// Pieces of the middle dimension of a dense [inner, length, outer] by their positions, and the gradient of that: a sum of what
// came from each position, in the order of the indices.
//
// For the sums a chunk has a range of positions, and goes through all indices for those that lie in it.
#include <string.h>

#include "_cpu/kernels/arithmetic.h"
#include "_cpu/kernels/kernel_maker.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int64_t kChunk = 32768;  // numbers that are worth a chunk
constexpr int64_t kMostRanges = 16;

// -1 for a number that is no position.
template <class T>
OWL_INLINE int64_t position_of(T index, int64_t length) {
    if (!(index >= 0 && index < T(length))) return -1;
    const int64_t position = int64_t(index);
    return T(position) == index ? position : -1;
}

int64_t pieces_of_chunk(const TakeArgs& a) { return max64(1, kChunk / max64(1, a.inner)); }

int64_t take_chunks(const TakeArgs& a) { return ceil_div(a.count * a.outer, pieces_of_chunk(a)); }

template <class T>
void take_typed(const TakeArgs& a, int64_t begin, int64_t end) {
    const int64_t pieces = pieces_of_chunk(a);
    for (int64_t piece = begin * pieces; piece < min64(a.count * a.outer, end * pieces); ++piece) {
        const int64_t position = position_of(static_cast<const T*>(a.indices)[piece % a.count], a.length);
        const T* x = static_cast<const T*>(a.x) + (piece / a.count * a.length + position) * a.inner;
        T* y = static_cast<T*>(a.y) + piece * a.inner;
        if (position >= 0) memcpy(y, x, size_t(a.inner) * sizeof(T));
        else for (int64_t k = 0; k < a.inner; ++k) y[k] = Constants<T>::nan;
    }
}

void take(const TakeArgs& a, int64_t begin, int64_t end, void*) {
    by_dtype(a.dtype, [&](auto zero) { take_typed<decltype(zero)>(a, begin, end); });
}

// -------------------------------------------------------------------------------------------------------- its gradient

struct Ranges {
    int64_t count, positions;  // of an outer place; of a range
};

Ranges ranges_of(const TakeArgs& a) {
    const int64_t work = (a.length + a.count) * a.inner;
    const int64_t wanted = max64(1, min64(min64(a.length, kMostRanges), work / kChunk));
    const int64_t positions = max64(1, ceil_div(a.length, wanted));
    return {ceil_div(a.length, positions), positions};
}

int64_t places_of_chunk(const TakeArgs& a) { return max64(1, kChunk / max64(1, (a.length + a.count) * a.inner)); }

int64_t back_chunks(const TakeArgs& a) { return ceil_div(ranges_of(a).count * a.outer, places_of_chunk(a)); }

template <class T>
void back_typed(const TakeArgs& a, int64_t begin, int64_t end) {
    const Ranges ranges = ranges_of(a);
    const int64_t in_chunk = places_of_chunk(a);
    const T* indices = static_cast<const T*>(a.indices);
    for (int64_t item = begin * in_chunk; item < min64(ranges.count * a.outer, end * in_chunk); ++item) {
        const int64_t first = item % ranges.count * ranges.positions, outer = item / ranges.count;
        const int64_t last = min64(a.length, first + ranges.positions);
        T* y = static_cast<T*>(a.y) + outer * a.length * a.inner;
        memset(y + first * a.inner, 0, size_t((last - first) * a.inner) * sizeof(T));
        for (int64_t i = 0; i < a.count; ++i) {
            const int64_t position = position_of(indices[i], a.length);
            if (position < first || position >= last) continue;
            const T* x = static_cast<const T*>(a.x) + (outer * a.count + i) * a.inner;
            for (int64_t k = 0; k < a.inner; ++k) y[position * a.inner + k] += x[k];
        }
    }
}

void take_back(const TakeArgs& a, int64_t begin, int64_t end, void*) {
    by_dtype(a.dtype, [&](auto zero) { back_typed<decltype(zero)>(a, begin, end); });
}

}  // namespace

extern const Kernel take_kernel = OnePhaseKernel<TakeArgs, take_chunks, take>::named("take");
extern const Kernel take_back_kernel = OnePhaseKernel<TakeArgs, back_chunks, take_back>::named("take_back");

}  // namespace OWL_ISA
}  // namespace owl
