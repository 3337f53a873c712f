// Copies between strided regions: transposes, slices, concatenations, broadcasts, conversions of type.
//
// The dimensions are first put in the order of the destination's strides and merged where both sides allow it. What
// remains is a stack of planes, each spanned by dimension 0, the destination's fastest, and one other: the source's
// fastest if that is not dimension 0 as well (a transpose), else the next. Planes are cut into blocks that stay in the
// cache; a block is copied by runs (memcpy, where types agree), by tiles transposed in registers, or number by number.
// A chunk is a range of blocks of about kChunk numbers.
#include <stdint.h>
#include <string.h>

#include "_cpu/kernels/kernel_maker.h"
#include "_cpu/kernels/transpose.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int64_t kChunk = 32768;
constexpr int64_t kTransposeRows = 128;

inline int64_t abs64(int64_t a) { return a < 0 ? -a : a; }

struct Dim {
    int64_t count, src, dst;
};

// The region as blocks: dim[0] and dim[1] span a plane, the others count the planes.
struct Plan {
    int ndim;
    Dim dim[kMaxDims + 1];
    int64_t block[2];             // numbers of a full block along dim[0] and dim[1]
    int64_t blocks[kMaxDims + 1];  // how many blocks along each dimension
    int64_t total_blocks, per_chunk;
};

bool merges(const Dim& inner, const Dim& outer) {
    return outer.src == inner.src * inner.count && outer.dst == inner.dst * inner.count;
}

Plan make_plan(const CopyArgs& a) {
    Plan p;
    int n = 0;
    bool empty = false;
    for (int d = 0; d < a.ndim; ++d) {
        empty |= a.shape[d] == 0;
        if (a.shape[d] == 1) continue;
        const Dim dim = {a.shape[d], a.src_stride[d], a.dst_stride[d]};
        int at = n++;
        for (; at > 0 && abs64(p.dim[at - 1].dst) > abs64(dim.dst); --at) p.dim[at] = p.dim[at - 1];
        p.dim[at] = dim;
    }
    int merged = 0;
    for (int d = 0; d < n; ++d) {
        if (merged > 0 && merges(p.dim[merged - 1], p.dim[d])) p.dim[merged - 1].count *= p.dim[d].count;
        else p.dim[merged++] = p.dim[d];
    }
    while (merged < 2) p.dim[merged++] = {1, 0, 0};
    p.ndim = merged;

    bool transposed = false;
    if (p.dim[0].src != 1 && p.dim[0].dst == 1)
        for (int d = 1; d < p.ndim && !transposed; ++d)
            if (p.dim[d].src == 1) {
                const Dim fastest = p.dim[d];
                for (int e = d; e > 1; --e) p.dim[e] = p.dim[e - 1];
                p.dim[1] = fastest;
                transposed = true;
            }
    p.block[0] = max64(1, min64(p.dim[0].count, transposed ? kTransposeRows : kChunk));
    p.block[1] = max64(1, min64(p.dim[1].count, kChunk / p.block[0]));
    if (transposed && p.block[1] > kTransposeRows) p.block[1] = kTransposeRows;
    p.total_blocks = empty ? 0 : 1;
    for (int d = 0; d < p.ndim && !empty; ++d) {
        p.blocks[d] = d < 2 ? ceil_div(p.dim[d].count, p.block[d]) : p.dim[d].count;
        p.total_blocks *= p.blocks[d];
    }
    p.per_chunk = max64(1, kChunk / (p.block[0] * p.block[1]));
    return p;
}

// A block of n0 x n1 numbers with strides s0, s1 in the source and d0, d1 in the destination.
template <class From, class To>
void copy_numbers(const From* src, int64_t s0, int64_t s1, To* dst, int64_t d0, int64_t d1, int64_t n0, int64_t n1) {
    for (int64_t j = 0; j < n1; ++j) {
        const From* __restrict s = src + j * s1;
        To* __restrict d = dst + j * d1;
        if (d0 == 1 && s0 == 1)
            for (int64_t i = 0; i < n0; ++i) d[i] = To(s[i]);
        else if (d0 == 1 && s0 == 0)
            for (int64_t i = 0; i < n0; ++i) d[i] = To(s[0]);
        else
            for (int64_t i = 0; i < n0; ++i) d[i * d0] = To(s[i * s0]);
    }
}

// As copy_numbers for s1 == 1 and d0 == 1.
template <class T>
void copy_transposed(const T* src, int64_t s0, T* dst, int64_t d1, int64_t n0, int64_t n1) {
    typedef Tile<T> Square;
    constexpr int N = Square::N;
    for (int64_t j = 0; j < n1; j += N) {
        const int columns = int(min64(N, n1 - j));
        for (int64_t i = 0; i < n0; i += N) {
            const int rows = int(min64(N, n0 - i));
            const T* s = src + i * s0 + j;
            T* d = dst + i + j * d1;
            Square tile;
            tile.load_rows(s, s0, rows, columns);
            tile.transpose();
            tile.store_rows(d, d1, columns, rows);
        }
    }
}

template <class From, class To>
void copy_block(const From* src, To* dst, const Dim& x, const Dim& y, int64_t n0, int64_t n1) {
    copy_numbers(src, x.src, y.src, dst, x.dst, y.dst, n0, n1);
}

template <class T>
void copy_block(const T* src, T* dst, const Dim& x, const Dim& y, int64_t n0, int64_t n1) {
    if (x.src == 1 && x.dst == 1) {
        for (int64_t j = 0; j < n1; ++j) memcpy(dst + j * y.dst, src + j * y.src, size_t(n0) * sizeof(T));
        return;
    }
    if constexpr (sizeof(T) >= 4) {
        if (x.dst == 1 && y.src == 1) {
            copy_transposed(src, x.src, dst, y.dst, n0, n1);
            return;
        }
    }
    copy_numbers(src, x.src, y.src, dst, x.dst, y.dst, n0, n1);
}

template <class From, class To>
void copy_blocks(const CopyArgs& a, const Plan& p, int64_t begin, int64_t end) {
    int64_t at[kMaxDims + 1];
    int64_t rest = begin;
    for (int d = 0; d < p.ndim; ++d) {
        at[d] = rest % p.blocks[d];
        rest /= p.blocks[d];
    }
    for (int64_t b = begin; b < end; ++b) {
        const int64_t i = at[0] * p.block[0], j = at[1] * p.block[1];
        int64_t src = i * p.dim[0].src + j * p.dim[1].src, dst = i * p.dim[0].dst + j * p.dim[1].dst;
        for (int d = 2; d < p.ndim; ++d) {
            src += at[d] * p.dim[d].src;
            dst += at[d] * p.dim[d].dst;
        }
        copy_block(static_cast<const From*>(a.src) + src, static_cast<To*>(a.dst) + dst, p.dim[0], p.dim[1],
                   min64(p.block[0], p.dim[0].count - i), min64(p.block[1], p.dim[1].count - j));
        for (int d = 0; d < p.ndim && ++at[d] == p.blocks[d]; ++d) at[d] = 0;
    }
}

int64_t chunks(const CopyArgs& a) {
    const Plan p = make_plan(a);
    return ceil_div(p.total_blocks, p.per_chunk);
}

void run(const CopyArgs& a, int64_t begin, int64_t end, void*) {
    const Plan p = make_plan(a);
    begin *= p.per_chunk;
    end = min64(end * p.per_chunk, p.total_blocks);
    switch (a.from) {
        case DType::f32:
            if (a.to == DType::f32) copy_blocks<float, float>(a, p, begin, end);
            else if (a.to == DType::f64) copy_blocks<float, double>(a, p, begin, end);
            break;
        case DType::f64:
            if (a.to == DType::f32) copy_blocks<double, float>(a, p, begin, end);
            else if (a.to == DType::f64) copy_blocks<double, double>(a, p, begin, end);
            break;
        case DType::u8:
            if (a.to == DType::f32) copy_blocks<uint8_t, float>(a, p, begin, end);
            else if (a.to == DType::f64) copy_blocks<uint8_t, double>(a, p, begin, end);
            else copy_blocks<uint8_t, uint8_t>(a, p, begin, end);
            break;
    }
}

}  // namespace

extern const Kernel copy_kernel = OnePhaseKernel<CopyArgs, chunks, run>::named("copy");

}  // namespace OWL_ISA
}  // namespace owl
