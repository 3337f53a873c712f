// Softmax along the middle dimension of a dense [inner, length, outer].
//
// Every line (one inner, one outer position) is done in the same order wherever it lies: its maximum, the exponentials
// of the differences from it, their sum, and one division each. With inner > 1 neighbouring lines lie in the lanes of
// vectors; with inner == 1 short lines are brought there by transposing tiles in registers, and long ones run along the
// vectors, their sum in a number of lanes that does not depend on the instruction set.
#include <stdint.h>
#include <string.h>

#include "kernels.h"
#include "lanes.h"
#include "simd.h"
#include "transpose.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int64_t kChunk = 16384;
constexpr int64_t kShortLine = 64;
constexpr int kLaneBytes = 256;



// Adds numbers one after the other, but in groups, so that the error of long sums stays small.
template <class T>
struct GroupedSum {
    Vec<T> total{}, group{};
    int64_t in_group = 0;

    OWL_INLINE void add(Vec<T> x) {
        group = group + x;
        if (++in_group == kSumGroup) {
            total = total + group;
            group = Vec<T>{};
            in_group = 0;
        }
    }
    OWL_INLINE Vec<T> result() const { return total + group; }
};

// `lanes` neighbouring lines whose numbers are `stride` apart.
template <class T>
void lines_across(const T* x, T* y, int64_t length, int64_t stride, int lanes) {
    Vec<T> top = load_lanes(x, lanes);
    for (int64_t i = 1; i < length; ++i) top = max(top, load_lanes(x + i * stride, lanes));
    GroupedSum<T> sum;
    for (int64_t i = 0; i < length; ++i) {
        const Vec<T> e = exp(load_lanes(x + i * stride, lanes) - top);
        store_lanes(y + i * stride, e, lanes);
        sum.add(e);
    }
    const Vec<T> total = sum.result();
    for (int64_t i = 0; i < length; ++i)
        store_lanes(y + i * stride, load_lanes(y + i * stride, lanes) / total, lanes);
}

// `lanes` short lines one behind the other.
template <class T>
void lines_short(const T* x, T* y, int64_t length, int lanes) {
    constexpr int N = kWidth<T>;
    Vec<T> e[kShortLine];
    for (int64_t r = 0; r < length; r += N) {
        const int rows = int(min64(N, length - r));
        Tile<T> tile;
        tile.load_rows(x + r, length, lanes, rows);
        tile.transpose();
        for (int i = 0; i < rows; ++i) e[r + i] = tile.row[i];
    }
    Vec<T> top = e[0];
    for (int64_t i = 1; i < length; ++i) top = max(top, e[i]);
    Vec<T> sum{};
    for (int64_t i = 0; i < length; ++i) {
        e[i] = exp(e[i] - top);
        sum = sum + e[i];
    }
    for (int64_t r = 0; r < length; r += N) {
        const int rows = int(min64(N, length - r));
        Tile<T> tile;
        for (int i = 0; i < N; ++i) tile.row[i] = i < rows ? e[r + i] / sum : Vec<T>{};
        tile.transpose();
        tile.store_rows(y + r, length, lanes, rows);
    }
}

template <class T>
void line_long(const T* x, T* y, int64_t length) {
    constexpr int L = kLaneBytes / int(sizeof(T)), NV = L / kWidth<T>, W = kWidth<T>;
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
            store(y + i + v * W, e);
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
            store_lanes(y + whole + v * W, e, n);
            for (int l = n; l < W; ++l) e[l] = T(0);
            group[v] = group[v] + e;
        }
        total[v] = total[v] + group[v];
    }
    memcpy(lanes, total, sizeof lanes);
    for (int half = L / 2; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    const Vec<T> sum = set1(lanes[0]);
    for (int64_t i = 0; i < length; i += W) {
        const int n = int(min64(W, length - i));
        store_lanes(y + i, load_lanes(y + i, n) / sum, n);
    }
}

struct Plan {
    int64_t blocks;  // of lines along the inner dimension, or along the outer one for short lines
    int64_t items, per_chunk;
};

Plan make_plan(const SoftmaxArgs& a) {
    const int64_t width = kVectorBytes / int64_t(dtype_size(a.dtype));
    const bool short_lines = a.inner == 1 && a.length <= kShortLine;
    Plan p;
    p.blocks = ceil_div(short_lines ? a.outer : a.inner, width);
    p.items = a.length == 0 ? 0 : short_lines ? p.blocks : p.blocks * a.outer;
    p.per_chunk = max64(1, kChunk / max64(1, a.length * (a.inner == 1 && !short_lines ? 1 : width)));
    return p;
}

template <class T>
void run_typed(const SoftmaxArgs& a, int64_t begin, int64_t end) {
    constexpr int64_t W = kWidth<T>;
    const Plan p = make_plan(a);
    const T* x = static_cast<const T*>(a.x);
    T* y = static_cast<T*>(a.y);
    for (int64_t i = begin * p.per_chunk; i < min64(p.items, end * p.per_chunk); ++i) {
        if (a.inner == 1 && a.length <= kShortLine) {
            const int64_t at = i * W * a.length;
            lines_short(x + at, y + at, a.length, int(min64(W, a.outer - i * W)));
        } else if (a.inner == 1) {
            line_long(x + i * a.length, y + i * a.length, a.length);
        } else {
            const int64_t first = i % p.blocks * W, at = first + i / p.blocks * a.length * a.inner;
            lines_across(x + at, y + at, a.length, a.inner, int(min64(W, a.inner - first)));
        }
    }
}

int phases(const void*) { return 1; }

int64_t chunks(const void* args, int) {
    const Plan p = make_plan(*static_cast<const SoftmaxArgs*>(args));
    return ceil_div(p.items, p.per_chunk);
}

void run(const void* args, int, int64_t begin, int64_t end, void*) {
    const SoftmaxArgs& a = *static_cast<const SoftmaxArgs*>(args);
    if (a.dtype == DType::f32) run_typed<float>(a, begin, end);
    else run_typed<double>(a, begin, end);
}

size_t nothing(const void*) { return 0; }

}  // namespace

extern const Kernel softmax_kernel = {"softmax", phases, chunks, run, nothing, nothing};

}  // namespace OWL_ISA
}  // namespace owl
