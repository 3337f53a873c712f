// Transposes a square tile of N x N numbers in registers, N being the number of lanes of a vector.
//
// Step d = 1, 2, 4, … exchanges, in every pair of rows (i, i + d), the off-diagonal d x d blocks; after log2(N)
// steps the tile is transposed. A step is two shuffles with constant lanes per pair, which the compiler turns into the
// cheapest instructions that the set has.
#pragma once
#include <stdint.h>

#include "simd.h"

namespace owl {
namespace OWL_ISA {

template <class T>
struct Tile {
    static constexpr int N = kWidth<T>;
    Vec<T> row[N];

    OWL_INLINE void transpose() { exchange<1>(); }

    // Reads `rows` rows of `count` numbers; what is missing is 0. Nothing beyond a row's end is touched.
    OWL_INLINE void load_rows(const T* p, int64_t stride, int rows, int count) {
        if (rows == N && count == N) {
            for (int i = 0; i < N; ++i) row[i] = load(p + i * stride);
            return;
        }
        for (int i = 0; i < N; ++i) {
            if (i >= rows) row[i] = Vec<T>{};
            else row[i] = count == N ? load(p + i * stride) : load_partial(p + i * stride, count);
        }
    }

    OWL_INLINE void store_rows(T* p, int64_t stride, int rows, int count) const {
        if (rows == N && count == N) {
            for (int i = 0; i < N; ++i) store(p + i * stride, row[i]);
            return;
        }
        for (int i = 0; i < rows; ++i) {
            if (count == N) store(p + i * stride, row[i]);
            else store_partial(p + i * stride, row[i], count);
        }
    }

private:
    template <int D, int... I>
    static OWL_INLINE void exchange_pair(Vec<T>& a, Vec<T>& b, LaneList<I...>) {
        const Vec<T> low = __builtin_shufflevector(a, b, ((I & D) ? N + I - D : I)...);
        const Vec<T> high = __builtin_shufflevector(a, b, ((I & D) ? N + I : I + D)...);
        a = low;
        b = high;
    }

    template <int D>
    OWL_INLINE void exchange() {
        if constexpr (D < N) {
#pragma GCC unroll 16
            for (int i = 0; i < N; ++i)
                if (!(i & D)) exchange_pair<D>(row[i], row[i + D], typename CountLanes<N>::type());
            exchange<2 * D>();
        }
    }
};

}  // namespace OWL_ISA
}  // namespace owl
