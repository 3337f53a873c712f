// Softmax along the middle dimension of a dense [inner, length, outer], its logarithm, and the cross entropy with its
// gradient.
//
// Every line (one inner, one outer position) is done in the same order wherever it lies: its maximum, the exponentials
// of the differences from it, their sum, and one division each. With inner > 1 neighbouring lines lie in the lanes of
// vectors; with inner == 1 short lines are brought there by transposing tiles in registers, and long ones run along the
// vectors, their sum in a number of lanes that does not depend on the instruction set.
#include <stdint.h>
#include <string.h>

#include "_cpu/kernels/kernel_maker.h"
#include "_cpu/kernels/reduce/grouped_sum.h"
#include "_cpu/kernels/transpose.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int64_t kChunk = 16384;

// What a line comes to, once its maximum and the logarithm of its sum are known.
template <class T>
OWL_INLINE Vec<T> log_softmax(Vec<T> x, Vec<T> top, Vec<T> log_sum) { return (x - top) - log_sum; }

// `lanes` neighbouring lines whose numbers are `stride` apart.
template <class T, SoftmaxKind K>
void lines_across(const T* x, T* y, int64_t length, int64_t stride, int lanes) {
    Vec<T> top = load_lanes(x, lanes);
    for (int64_t i = 1; i < length; ++i) top = max(top, load_lanes(x + i * stride, lanes));
    GroupedSum<Vec<T>> sum;
    for (int64_t i = 0; i < length; ++i) {
        const Vec<T> e = exp(load_lanes(x + i * stride, lanes) - top);
        if (K == SoftmaxKind::plain) store_lanes(y + i * stride, e, lanes);
        sum.add(e);
    }
    const Vec<T> total = sum.result();
    if (K == SoftmaxKind::plain) {
        for (int64_t i = 0; i < length; ++i)
            store_lanes(y + i * stride, load_lanes(y + i * stride, lanes) / total, lanes);
    } else {
        const Vec<T> log_sum = log(total);
        for (int64_t i = 0; i < length; ++i)
            store_lanes(y + i * stride, log_softmax<T>(load_lanes(x + i * stride, lanes), top, log_sum), lanes);
    }
}

// Brings `lanes` lines, which lie one behind the other, into the lanes of `length` vectors.
template <class T>
OWL_INLINE void load_across(const T* x, int64_t length, int lanes, Vec<T>* e) {
    constexpr int N = kWidth<T>;
    for (int64_t r = 0; r < length; r += N) {
        const int rows = int(min64(N, length - r));
        Tile<T> tile;
        tile.load_rows(x + r, length, lanes, rows);
        tile.transpose();
        for (int i = 0; i < rows; ++i) e[r + i] = tile.row[i];
    }
}

// `lanes` short lines one behind the other; the losses of neighbours are neighbours.
template <class T, SoftmaxKind K>
void lines_short(const T* x, const T* label, T* y, int64_t length, int lanes) {
    constexpr int N = kWidth<T>;
    constexpr bool kLogarithm = K == SoftmaxKind::logarithm || K == SoftmaxKind::loss;
    Vec<T> e[kSoftmaxShortLine], labels[K == SoftmaxKind::plain ? 1 : kSoftmaxShortLine];
    e[0] = labels[0] = Vec<T>{};  // lines have numbers, which the compiler cannot know
    load_across(x, length, lanes, e);
    if (K == SoftmaxKind::loss || K == SoftmaxKind::difference) load_across(label, length, lanes, labels);
    Vec<T> top = e[0];
    for (int64_t i = 1; i < length; ++i) top = max(top, e[i]);
    Vec<T> sum{};
    for (int64_t i = 0; i < length; ++i) {
        const Vec<T> power = exp(e[i] - top);
        sum = sum + power;
        if (!kLogarithm) e[i] = power;
    }
    const Vec<T> log_sum = kLogarithm ? log(sum) : sum;
    if (K == SoftmaxKind::loss) {
        Vec<T> loss{};
        for (int64_t i = 0; i < length; ++i) loss = loss + cost<Vec<T>>(labels[i], log_softmax<T>(e[i], top, log_sum));
        store_lanes(y, loss, lanes);
        return;
    }
    for (int64_t r = 0; r < length; r += N) {
        const int rows = int(min64(N, length - r));
        Tile<T> tile;
        for (int i = 0; i < N; ++i) {
            if (i >= rows) tile.row[i] = Vec<T>{};
            else if (K == SoftmaxKind::logarithm) tile.row[i] = log_softmax<T>(e[r + i], top, log_sum);
            else if (K == SoftmaxKind::difference) tile.row[i] = e[r + i] / sum - labels[r + i];
            else tile.row[i] = e[r + i] / sum;
        }
        tile.transpose();
        tile.store_rows(y + r, length, lanes, rows);
    }
}

// Sums the lanes of several vectors in an order that does not depend on the instruction set.
template <class T, int NV>
OWL_INLINE T sum_of_lanes(const Vec<T>* total) {
    constexpr int L = NV * kWidth<T>;
    T lanes[L];
    memcpy(lanes, total, sizeof lanes);
    for (int half = L / 2; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    return lanes[0];
}

template <class T, SoftmaxKind K>
void line_long(const T* x, const T* label, T* y, int64_t length) {
    constexpr int L = kSoftmaxLaneBytes / int(sizeof(T)), NV = L / kWidth<T>, W = kWidth<T>;
    constexpr bool kStored = K == SoftmaxKind::plain || K == SoftmaxKind::difference;  // powers wait in the result
    Vec<T> top[NV], group[NV], total[NV];
    T lanes[L];
    const int64_t whole = length / L * L, rest = length - whole;
    for (int v = 0; v < NV; ++v) top[v] = set1(-Constants<T>::infinity);
    for (int64_t i = 0; i < whole; i += L)
        for (int v = 0; v < NV; ++v) top[v] = max(top[v], load(x + i + v * W));
    for (int l = 0; l < L; ++l) lanes[l] = l < rest ? x[whole + l] : -Constants<T>::infinity;
    for (int v = 0; v < NV; ++v) top[v] = max(top[v], load(lanes + v * W));
    memcpy(lanes, top, sizeof lanes);
    T highest = lanes[0];
    for (int l = 1; l < L; ++l) highest = highest >= lanes[l] || highest != highest ? highest : lanes[l];

    for (int v = 0; v < NV; ++v) total[v] = group[v] = Vec<T>{};
    for (int64_t i = 0; i < whole; i += L) {
        for (int v = 0; v < NV; ++v) {
            const Vec<T> e = exp(load(x + i + v * W) - highest);
            if (kStored) store(y + i + v * W, e);
            group[v] = group[v] + e;
        }
        if ((i / L + 1) % kSumGroup == 0)
            for (int v = 0; v < NV; ++v) {
                total[v] = total[v] + group[v];
                group[v] = Vec<T>{};
            }
    }
    for (int v = 0; v < NV; ++v) {
        const int n = int(max64(0, min64(W, rest - v * W)));
        if (n > 0) {
            T line[W];
            for (int l = 0; l < W; ++l) line[l] = l < n ? x[whole + v * W + l] : -Constants<T>::infinity;
            Vec<T> e = exp(load(line) - highest);
            if (kStored) store_lanes(y + whole + v * W, e, n);
            for (int l = n; l < W; ++l) e[l] = T(0);
            group[v] = group[v] + e;
        }
        total[v] = total[v] + group[v];
    }
    const Vec<T> sum = set1(sum_of_lanes<T, NV>(total)), peak = set1(highest);
    const Vec<T> log_sum = kStored ? sum : log(sum);
    if (K == SoftmaxKind::loss) {
        for (int v = 0; v < NV; ++v) total[v] = group[v] = Vec<T>{};
        for (int64_t i = 0; i < length; i += L) {
            for (int v = 0; v < NV; ++v) {
                const int n = int(max64(0, min64(W, length - i - v * W)));
                if (n == 0) continue;  // lanes beyond the end are zeros, as are their labels
                const Vec<T> logarithm = log_softmax<T>(load_lanes(x + i + v * W, n), peak, log_sum);
                group[v] = group[v] + cost<Vec<T>>(load_lanes(label + i + v * W, n), logarithm);
            }
            if ((i / L + 1) % kSumGroup == 0)
                for (int v = 0; v < NV; ++v) {
                    total[v] = total[v] + group[v];
                    group[v] = Vec<T>{};
                }
        }
        for (int v = 0; v < NV; ++v) total[v] = total[v] + group[v];
        y[0] = sum_of_lanes<T, NV>(total);
        return;
    }
    for (int64_t i = 0; i < length; i += W) {
        const int n = int(min64(W, length - i));
        if (K == SoftmaxKind::logarithm) store_lanes(y + i, log_softmax<T>(load_lanes(x + i, n), peak, log_sum), n);
        else if (K == SoftmaxKind::plain) store_lanes(y + i, load_lanes(y + i, n) / sum, n);
        else store_lanes(y + i, load_lanes(y + i, n) / sum - load_lanes(label + i, n), n);
    }
}

struct Plan {
    int64_t blocks;  // of lines along the inner dimension, or along the outer one for short lines
    int64_t items, per_chunk;
};

Plan make_plan(const SoftmaxArgs& a) {
    const int64_t width = kVectorBytes / int64_t(dtype_size(a.dtype));
    const bool short_lines = a.inner == 1 && a.length <= kSoftmaxShortLine;
    Plan p;
    p.blocks = ceil_div(short_lines ? a.outer : a.inner, width);
    p.items = a.length == 0 ? 0 : short_lines ? p.blocks : p.blocks * a.outer;
    p.per_chunk = max64(1, kChunk / max64(1, a.length * (a.inner == 1 && !short_lines ? 1 : width)));
    return p;
}

template <class T, SoftmaxKind K>
void run_kind(const SoftmaxArgs& a, int64_t begin, int64_t end) {
    constexpr int64_t W = kWidth<T>;
    const Plan p = make_plan(a);
    const T* x = static_cast<const T*>(a.x);
    const T* label = static_cast<const T*>(a.label);
    T* y = static_cast<T*>(a.y);
    for (int64_t i = begin * p.per_chunk; i < min64(p.items, end * p.per_chunk); ++i) {
        if (a.inner == 1) {
            const bool is_short = a.length <= kSoftmaxShortLine;
            const int64_t line = is_short ? i * W : i, at = line * a.length, to = K == SoftmaxKind::loss ? line : at;
            const T* labels = K == SoftmaxKind::loss || K == SoftmaxKind::difference ? label + at : nullptr;
            if (is_short) lines_short<T, K>(x + at, labels, y + to, a.length, int(min64(W, a.outer - line)));
            else line_long<T, K>(x + at, labels, y + to, a.length);
        } else if constexpr (K == SoftmaxKind::plain || K == SoftmaxKind::logarithm) {
            const int64_t first = i % p.blocks * W, at = first + i / p.blocks * a.length * a.inner;
            lines_across<T, K>(x + at, y + at, a.length, a.inner, int(min64(W, a.inner - first)));
        }
    }
}

template <class T>
void run_typed(const SoftmaxArgs& a, int64_t begin, int64_t end) {
    switch (a.kind) {
        case SoftmaxKind::plain: return run_kind<T, SoftmaxKind::plain>(a, begin, end);
        case SoftmaxKind::logarithm: return run_kind<T, SoftmaxKind::logarithm>(a, begin, end);
        case SoftmaxKind::loss: return run_kind<T, SoftmaxKind::loss>(a, begin, end);
        case SoftmaxKind::difference: return run_kind<T, SoftmaxKind::difference>(a, begin, end);
    }
}

int64_t chunks(const SoftmaxArgs& a) {
    const Plan p = make_plan(a);
    return ceil_div(p.items, p.per_chunk);
}

void run(const SoftmaxArgs& a, int64_t begin, int64_t end, void*) {
    by_dtype(a.dtype, [&](auto zero) { run_typed<decltype(zero)>(a, begin, end); });
}

}  // namespace

extern const Kernel softmax_kernel = OnePhaseKernel<SoftmaxArgs, chunks, run>::named("softmax");

}  // namespace OWL_ISA
}  // namespace owl
