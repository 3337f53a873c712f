// The innermost loops of the matrix product: a tile of C in registers, and the packing that feeds it.
#pragma once
#include "_cpu/kernels/lanes.h"
#include "_cpu/kernels/simd.h"
#include "_cpu/kernels/transpose.h"

namespace owl {
namespace OWL_ISA {

// A tile of C is 2 vectors of rows by as many columns as the registers allow for their accumulators, two vectors of A
// and one for B; without FMA the product needs one as well.
constexpr int kTileVectors = 2;
constexpr int kTileColumns = kVectorRegisters == 32 ? 12 : kHasFma ? 6 : 4;
static_assert(240 % kTileColumns == 0, "a group of columns that is summed must hold whole tiles");

// One tile, k products long. A has `VR` vectors of rows for each l, `a_col` numbers apart. B is read where it lies: its
// element (l, j) is b[l * b_row + j * b_col], one of the strides being 1. `from` holds what was accumulated before, columns of VR
// vectors; a branch for "nothing yet" would keep the accumulators out of registers, so that is an array of zeros. The
// result goes to columns `pitch` apart, the last vector of each being of `lanes` rows.
template <class T, int VR, int NR, bool BColumns>
void gemm_tile(const T* a, int64_t a_col, const T* b, int64_t b_row, int64_t b_col, int64_t k, const T* from, T* to,
               int64_t pitch, int lanes) {
    constexpr int W = kWidth<T>;
    Vec<T> acc[NR][VR];
#pragma GCC unroll 12
    for (int j = 0; j < NR; j++)
#pragma GCC unroll 2
        for (int v = 0; v < VR; v++) acc[j][v] = load_aligned(from + (j * VR + v) * W);
    if (BColumns) b_row = 1;
    else b_col = 1;
    // Four bases, three columns each: x86 then addresses all columns with few registers.
    const T* base[(NR + 2) / 3];
    for (int q = 0; q < (NR + 2) / 3; q++) base[q] = b + 3 * q * b_col;
#pragma GCC unroll 2
    for (int64_t l = 0; l < k; l++) {
        Vec<T> x[VR];
#pragma GCC unroll 2
        for (int v = 0; v < VR; v++) x[v] = load(a + v * W);
        a += a_col;
#pragma GCC unroll 12
        for (int j = 0; j < NR; j++) {
            const Vec<T> y = BColumns ? set1(base[j / 3][(j % 3) * b_col + l]) : set1(b[j]);
#pragma GCC unroll 2
            for (int v = 0; v < VR; v++) acc[j][v] = fma(x[v], y, acc[j][v]);
        }
        if (!BColumns) b += b_row;
    }
#pragma GCC unroll 12
    for (int j = 0; j < NR; j++)
#pragma GCC unroll 2
        for (int v = 0; v < VR; v++) {
            if (v + 1 < VR || lanes == W) store(to + j * pitch + v * W, acc[j][v]);
            else store_partial(to + j * pitch + v * W, acc[j][v], lanes);
        }
}

template <class T>
alignas(64) constexpr T kEmptyTile[kTileVectors * kTileColumns * kWidth<T>] = {};

template <class T>
using GemmTile = void (*)(const T*, int64_t, const T*, int64_t, int64_t, int64_t, const T*, T*, int64_t, int);

template <class T, int VR, bool BColumns, int NR = kTileColumns>
inline GemmTile<T> gemm_tile_of(int columns) {
    if constexpr (NR == 1) return gemm_tile<T, VR, 1, BColumns>;
    else return columns == NR ? gemm_tile<T, VR, NR, BColumns> : gemm_tile_of<T, VR, BColumns, NR - 1>(columns);
}

// ------------------------------------------------------------------------------------------------------------ packing

// How many columns ahead of its reading a strided column is asked for: each begins another page, which no processor
// foresees.
constexpr int64_t kPackAhead = 8;

// Rows 0 … rows-1 of k columns of A, element (i, l) at a[i * row + l * col], as [k][pitch], padded with zero rows.
template <class T>
void pack_rows(T* to, const T* a, int64_t row, int64_t col, int64_t rows, int pitch, int64_t k) {
    constexpr int W = kWidth<T>;
    if (row == 1) {
        const int whole = int(rows / W) * W, lanes = int(rows) - whole;
        for (int64_t l = 0; l < k; l++, to += pitch, a += col) {
            for (int v = 0; v < pitch; v += W) __builtin_prefetch(a + kPackAhead * col + v);
            for (int v = 0; v < whole; v += W) store_aligned(to + v, load(a + v));
            if (lanes) store_aligned(to + whole, load_partial(a + whole, lanes));
            for (int v = whole + (lanes ? W : 0); v < pitch; v += W) store_aligned(to + v, Vec<T>{});
        }
        return;
    }
    for (int v = 0; v < pitch; v += W) {
        const int lanes = int(min64(rows - v, W));
        const T* p = a + v * row;
        for (int64_t l = 0; col == 1 && l < k; l += W) {
            const int count = int(min64(k - l, W));
            Tile<T> tile;
            tile.load_rows(p + l, row, lanes, count);
            tile.transpose();
            tile.store_rows(to + l * pitch + v, pitch, count, W);
        }
        for (int64_t l = 0; col != 1 && l < k; l++)
            for (int i = 0; i < W; i++) to[l * pitch + v + i] = i < lanes ? p[i * row + l * col] : T(0);
    }
}

// Columns 0 … columns-1 of k rows of B, as one [k][width] per `width` columns; columns beyond are left as they were.
template <class T>
void pack_columns(T* to, const T* b, int64_t row, int64_t col, int64_t columns, int width, int64_t k) {
    constexpr int W = kWidth<T>;
    for (int64_t j0 = 0; j0 < columns; j0 += width, to += width * k) {
        const int count = int(min64(columns - j0, width));
        const T* p = b + j0 * col;
        if (row == 1) {
            for (int j = 0; j < count; j += W)
                for (int64_t l = 0; l < k; l += W) {
                    const int lanes = int(min64(count - j, W)), depth = int(min64(k - l, W));
                    Tile<T> tile;
                    tile.load_rows(p + l + j * col, col, lanes, depth);
                    tile.transpose();
                    tile.store_rows(to + l * width + j, width, depth, lanes);
                }
        } else {
            for (int64_t l = 0; l < k; l++)
                for (int j = 0; j < count; j++) to[l * width + j] = p[l * row + j * col];
        }
    }
}

}  // namespace OWL_ISA
}  // namespace owl
