// Products of a matrix with few vectors. Memory decides their speed, so the matrix is not packed: it is read once, where
// it lies. Each element adds its products in the natural order of k, so no bit tells which way it was computed.
#pragma once
#include "gemm_micro.h"

namespace owl {
namespace OWL_ISA {

template <int N>
struct Constant {
    static constexpr int value = N;
};

constexpr int kFewColumns = kVectorRegisters == 32 ? 8 : 6;

// y(i, j), at y[i + j * pitch] for `rows` rows i and `N` columns j, as the sum of a(i, l) * b(l, j) over k. What lies
// between the rows and the next whole vector is overwritten.
template <class T>
struct FewColumns {
    const T* a;
    int64_t a_row, a_col;
    const T* b;
    int64_t b_row, b_col;
    int64_t rows, k;
    T* y;
    int64_t pitch;
};

// Columns of A are contiguous: some of them are added to y at a time, while y stays in the L1 cache.
template <class T, int N>
void add_few_columns(const FewColumns<T>& f) {
    constexpr int W = kWidth<T>, kDepth = N <= 2 ? 8 : 4;
    for (int j = 0; j < N; j++)
        for (int64_t i = 0; i < f.rows; i += W) store(f.y + j * f.pitch + i, Vec<T>{});
    const T* a = f.a;
    int64_t l = 0;
    const auto add = [&](auto depth) {
        constexpr int D = decltype(depth)::value;
        T b[D][N];
        for (int d = 0; d < D; d++)
            for (int j = 0; j < N; j++) b[d][j] = f.b[(l + d) * f.b_row + j * f.b_col];
        for (int64_t i = 0; i < f.rows; i += W) {
            const int lanes = int(min64(f.rows - i, W));
            Vec<T> x[D];
#pragma GCC unroll 8
            for (int d = 0; d < D; d++) {
                x[d] = load_lanes(a + i + d * f.a_col, lanes);
                __builtin_prefetch(a + i + (D + d) * f.a_col);
            }
#pragma GCC unroll 8
            for (int j = 0; j < N; j++) {
                T* y = f.y + j * f.pitch + i;
                Vec<T> sum = load(y);
#pragma GCC unroll 8
                for (int d = 0; d < D; d++) sum = fma(x[d], set1(b[d][j]), sum);
                store(y, sum);
            }
        }
        a += D * f.a_col;
    };
    for (; l + kDepth <= f.k; l += kDepth) add(Constant<kDepth>());
    for (; l < f.k; l++) add(Constant<1>());
}

// Rows of A are contiguous: a tile of it is transposed in registers.
template <class T, int N>
void dot_few_columns(const FewColumns<T>& f) {
    constexpr int W = kWidth<T>;
    for (int64_t i = 0; i < f.rows; i += W) {
        const int lanes = int(min64(f.rows - i, W));
        const T *a = f.a + i * f.a_row, *b = f.b;
        Vec<T> sum[N] = {};
        for (int64_t l = 0; l < f.k; l += W, a += W) {
            const int depth = int(min64(f.k - l, W));
            Tile<T> tile;
            tile.load_rows(a, f.a_row, lanes, depth);
            tile.transpose();
            for (int d = 0; d < depth; d++, b += f.b_row)
#pragma GCC unroll 8
                for (int j = 0; j < N; j++) sum[j] = fma(tile.row[d], set1(b[j * f.b_col]), sum[j]);
        }
        for (int j = 0; j < N; j++) store(f.y + j * f.pitch + i, sum[j]);
    }
}

template <class T>
using FewColumnsFunction = void (*)(const FewColumns<T>&);

template <class T, int N = kFewColumns>
inline FewColumnsFunction<T> few_columns_of(int columns, bool by_columns) {
    if constexpr (N == 0) return nullptr;
    else if (columns != N) return few_columns_of<T, N - 1>(columns, by_columns);
    else return by_columns ? add_few_columns<T, N> : dot_few_columns<T, N>;
}

}  // namespace OWL_ISA
}  // namespace owl
