// Pooling over a block of channels: what the pooling kernels and the convolutions that pool have in common, so that
// fusing the two changes no bit.
#pragma once
#include "_cpu/kernels/arithmetic.h"
#include "conv_block.h"

namespace owl {
namespace OWL_ISA {

// The part of a window that lies inside the data.
struct Clipped {
    int64_t begin, end;
    Clipped(int64_t index, int64_t window, int64_t stride, int64_t pad, int64_t n) {
        const int64_t start = index * stride - pad;
        begin = max64(start, 0);
        end = min64(start + window, n);
    }
};

// Looks for the maximum in a window that is not empty. H and W are its size, or 0 for the size given: constants make
// small windows as fast as if they were written out. The first of equal values wins, and a NaN beats everything.
template <int H, int W, class T, class Map>
OWL_INLINE void find_maximum(const T* corner, int64_t pitch, int64_t h, int64_t w, T position, int64_t position_row,
                             Vec<T>& best, Vec<T>& where, Map map) {
    const int64_t rows = H ? H : h, columns = W ? W : w;
    best = map(load(corner));
    where = set1(position);
#pragma GCC unroll 4
    for (int64_t i = 0; i < rows; ++i)
#pragma GCC unroll 4
        for (int64_t j = 0; j < columns; ++j) {
            const Vec<T> candidate = map(load(corner + (i * pitch + j) * kWidth<T>));
            const Mask<T> wins = mask_or(gt(candidate, best), is_nan(candidate));
            best = select(wins, candidate, best);
            where = select(wins, set1(position + T(i * position_row + j)), where);
        }
}

// Pools rows [first, last) of the output. The block holds the data's rows from `first_row` on, `pitch` pixels each;
// `map` is applied to what is read. `value` and `position` (for max; may be null) are dense blocks of the rows asked
// for.
template <class T, class Map>
OWL_INLINE void pool_block(const PoolWindow& pool, int64_t w, int64_t h, const T* block, int64_t first_row,
                           int64_t pitch, int64_t first, int64_t last, T* value, T* position, Map map) {
    constexpr int N = kWidth<T>;
    const Vec<T> inverse_area = set1(T(1) / T(pool.w * pool.h));
    for (int64_t py = first; py < last; ++py) {
        const Clipped y(py, pool.h, pool.stride_h, pool.pad_h, h);
        for (int64_t px = 0; px < pool.out_w; ++px, value += N) {
            const Clipped x(px, pool.w, pool.stride_w, pool.pad_w, w);
            const bool empty = y.begin >= y.end || x.begin >= x.end;
            if (pool.op == PoolOp::average || empty) {
                Vec<T> sum{};
                for (int64_t i = y.begin; i < y.end; ++i)
                    for (int64_t j = x.begin; j < x.end; ++j)
                        sum = sum + map(load(block + ((i - first_row) * pitch + j) * N));
                store(value, sum * inverse_area);
                if (position) store(position, Vec<T>{}), position += N;
                continue;
            }
            const int64_t corner_y = py * pool.stride_h - pool.pad_h, corner_x = px * pool.stride_w - pool.pad_w;
            const int64_t rows = y.end - y.begin, columns = x.end - x.begin;
            const T* corner = block + ((y.begin - first_row) * pitch + x.begin) * N;
            const T at = T((y.begin - corner_y) * pool.w + (x.begin - corner_x));
            Vec<T> best, where;
            const bool whole = rows == pool.h && columns == pool.w;
            if (whole && rows == 2 && columns == 2) find_maximum<2, 2>(corner, pitch, 2, 2, T(0), 2, best, where, map);
            else if (whole && rows == 3 && columns == 3)
                find_maximum<3, 3>(corner, pitch, 3, 3, T(0), 3, best, where, map);
            else find_maximum<0, 0>(corner, pitch, rows, columns, at, pool.w, best, where, map);
            store(value, best);
            if (position) store(position, where), position += N;
        }
    }
}

// Clears the gradients of pixels whose activation is not above 0: the adjoint of relu.
template <class T>
void mask_block(const T* activation, int64_t pixels, T* gradient) {
    constexpr int N = kWidth<T>;
    for (int64_t i = 0; i < pixels * N; i += N)
        store(gradient + i, select(gt(load(activation + i), Vec<T>{}), load(gradient + i), Vec<T>{}));
}

// The same where the activations are planes.
template <class T>
void mask_by_planes(const T* planes, int64_t plane, int64_t channels, int64_t rows, int64_t columns, T* gradient,
                    int64_t pitch) {
    constexpr int N = kWidth<T>;
    PixelWalk walk = columns == pitch ? PixelWalk{rows * columns, rows * columns} : PixelWalk{columns, pitch};
    for (int64_t i = 0, pixels = rows * columns; i < pixels; i += N) {
        const int n = int(min64(N, pixels - i));
        Tile<T> activation, masked;
        activation.load_rows(planes + i, plane, int(min64(N, channels)), n);
        activation.transpose();
        PixelWalk reading = walk;
        load_pixels(masked, n, gradient, reading, Identity());
#pragma GCC unroll 16
        for (int p = 0; p < N; ++p) masked.row[p] = select(gt(activation.row[p], Vec<T>{}), masked.row[p], Vec<T>{});
        store_pixels(masked, n, gradient, walk);
    }
}

// Puts the gradient where the maximum was: stored, with 0 everywhere else in the window, or added.
template <int H, int W, bool Store, class T>
OWL_INLINE void spread_maximum(T* corner, int64_t pitch, int64_t h, int64_t w, T position, int64_t position_row,
                               Vec<T> gradient, Vec<T> where) {
    const int64_t rows = H ? H : h, columns = W ? W : w;
#pragma GCC unroll 4
    for (int64_t i = 0; i < rows; ++i)
#pragma GCC unroll 4
        for (int64_t j = 0; j < columns; ++j) {
            T* pixel = corner + (i * pitch + j) * kWidth<T>;
            const Vec<T> at = set1(position + T(i * position_row + j));
            const Vec<T> part = select(eq(where, at), gradient, Vec<T>{});
            store(pixel, Store ? part : load(pixel) + part);
        }
}

// Windows that tile the data without a gap write every pixel exactly once, so nothing needs clearing or adding.
OWL_INLINE bool windows_tile(const PoolWindow& pool, int64_t w, int64_t h) {
    return pool.w == pool.stride_w && pool.h == pool.stride_h && pool.pad_w == 0 && pool.pad_h == 0 &&
           pool.out_w * pool.w >= w && pool.out_h * pool.h >= h;
}

template <class T>
void clear_rows(T* block, int64_t w, int64_t h, int64_t pitch) {
    for (int64_t i = 0; i < h; ++i) memset(block + i * pitch * kWidth<T>, 0, size_t(w * kWidth<T>) * sizeof(T));
}

// The adjoint of average pooling: every pixel of a window gets its share. Blocks are as for `scatter_block`.
template <class T>
void scatter_average(const PoolWindow& pool, int64_t w, int64_t h, const T* gradient, T* block, int64_t pitch) {
    constexpr int N = kWidth<T>;
    const Vec<T> inverse_area = set1(T(1) / T(pool.w * pool.h));
    const bool tiles = windows_tile(pool, w, h);
    if (!tiles) clear_rows(block, w, h, pitch);
    for (int64_t py = 0; py < pool.out_h; ++py) {
        const Clipped y(py, pool.h, pool.stride_h, pool.pad_h, h);
        for (int64_t px = 0; px < pool.out_w; ++px, gradient += N) {
            const Clipped x(px, pool.w, pool.stride_w, pool.pad_w, w);
            const Vec<T> share = load(gradient) * inverse_area;
            for (int64_t i = y.begin; i < y.end; ++i)
                for (int64_t j = x.begin; j < x.end; ++j) {
                    T* pixel = block + (i * pitch + j) * N;
                    store(pixel, tiles ? share : load(pixel) + share);
                }
        }
    }
}

// The adjoint of max pooling: adds each window's gradient where its maximum was. The block, `pitch` pixels a row, is
// cleared first; gradients and positions are dense blocks of the whole output.
template <class T>
void scatter_block(const PoolWindow& pool, int64_t w, int64_t h, const T* gradient, const T* position, T* block,
                  int64_t pitch) {
    constexpr int N = kWidth<T>;
    const bool tiles = windows_tile(pool, w, h);
    if (!tiles) clear_rows(block, w, h, pitch);
    for (int64_t py = 0; py < pool.out_h; ++py) {
        const Clipped y(py, pool.h, pool.stride_h, pool.pad_h, h);
        for (int64_t px = 0; px < pool.out_w; ++px, gradient += N, position += N) {
            const Clipped x(px, pool.w, pool.stride_w, pool.pad_w, w);
            const int64_t corner_y = py * pool.stride_h - pool.pad_h, corner_x = px * pool.stride_w - pool.pad_w;
            const int64_t rows = y.end - y.begin, columns = x.end - x.begin;
            if (rows <= 0 || columns <= 0) continue;
            T* corner = block + (y.begin * pitch + x.begin) * N;
            const T at = T((y.begin - corner_y) * pool.w + (x.begin - corner_x));
            const Vec<T> g = load(gradient), where = load(position);
            const bool whole = tiles && rows == pool.h && columns == pool.w;
            if (whole && rows == 2 && columns == 2) spread_maximum<2, 2, true>(corner, pitch, 2, 2, T(0), 2, g, where);
            else if (whole && rows == 3 && columns == 3)
                spread_maximum<3, 3, true>(corner, pitch, 3, 3, T(0), 3, g, where);
            else if (tiles) spread_maximum<0, 0, true>(corner, pitch, rows, columns, at, pool.w, g, where);
            else spread_maximum<0, 0, false>(corner, pitch, rows, columns, at, pool.w, g, where);
        }
    }
}

}  // namespace OWL_ISA
}  // namespace owl
