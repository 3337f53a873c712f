// Running sums along the middle dimension of a dense [inner, length, outer].
//
// A line is cut into pieces of kScanPiece numbers. Within a piece numbers are added one after the other, from the first one on;
// the sum of the pieces before is added to each. The cut depends on the place in the line alone, and a GPU, which scans pieces
// side by side, has the same bits. A vector has neighboring lines, a chunk some lines.
#include "_cpu/kernels/kernel_maker.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int64_t kChunk = 32768;  // numbers that are worth a chunk

// `load(at)` and `store(at, value)` are given distances from the line's beginning.
template <class V, class Load, class Store>
OWL_INLINE void scan(const CumsumArgs& a, Load load, Store store) {
    const int64_t first = a.reverse ? (a.length - 1) * a.inner : 0, step = a.reverse ? -a.inner : a.inner;
    V before{}, last{};
    for (int64_t begin = 0; begin < a.length; begin += kScanPiece) {
        V sum{};
        for (int64_t i = begin; i < min64(a.length, begin + kScanPiece); ++i) {
            const int64_t at = first + i * step;
            sum = i == begin ? load(at) : sum + load(at);
            last = begin ? before + sum : sum;
            store(at, last);
        }
        before = last;
    }
}

int64_t vectors_of(const CumsumArgs& a) {
    return a.inner == 1 ? 1 : ceil_div(a.inner, kVectorBytes / int64_t(dtype_size(a.dtype)));
}

int64_t per_chunk(const CumsumArgs& a) {
    const int64_t lines = a.inner == 1 ? 1 : kVectorBytes / int64_t(dtype_size(a.dtype));
    return max64(1, kChunk / max64(1, a.length * lines));
}

int64_t chunks(const CumsumArgs& a) {
    return a.length == 0 ? 0 : ceil_div(vectors_of(a) * a.outer, per_chunk(a));
}

template <class T>
void run_typed(const CumsumArgs& a, int64_t begin, int64_t end) {
    const int64_t vectors = vectors_of(a), count = per_chunk(a);
    for (int64_t item = begin * count; item < min64(vectors * a.outer, end * count); ++item) {
        const int64_t first = item % vectors * kWidth<T>, start = first + item / vectors * a.length * a.inner;
        const T* x = static_cast<const T*>(a.x) + start;
        T* y = static_cast<T*>(a.y) + start;
        if (a.inner == 1) {
            scan<T>(a, [&](int64_t at) { return x[at]; }, [&](int64_t at, T value) { y[at] = value; });
            continue;
        }
        const int lanes = int(min64(kWidth<T>, a.inner - first));
        scan<Vec<T>>(a, [&](int64_t at) { return load_lanes(x + at, lanes); },
                     [&](int64_t at, Vec<T> value) { store_lanes(y + at, value, lanes); });
    }
}

void run(const CumsumArgs& a, int64_t begin, int64_t end, void*) {
    by_dtype(a.dtype, [&](auto zero) { run_typed<decltype(zero)>(a, begin, end); });
}

}  // namespace

extern const Kernel cumsum_kernel = OnePhaseKernel<CumsumArgs, chunks, run>::named("cumsum");

}  // namespace OWL_ISA
}  // namespace owl
