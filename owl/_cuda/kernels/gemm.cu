// Matrix products.
#define OWL_ISA cuda
#define OWL_SCALARS 1
#include "_cpu/kernels/scalars.h"
#include "gemm.cuh"

namespace owl {
namespace cuda {

template <class T, class Tile>
OWL_DEVICE void multiply(const GemmLaunch& a) {
    using Sizes = GemmSizes<T, Tile>;
    OWL_SHARED(T, shared, Sizes::kShared);
    OWL_PRIVATE(T, sums, Sizes::kOwn);
    const int64_t down = (a.m + Tile::kRows - 1) / Tile::kRows;
    const int64_t row = OWL_BLOCK() % down * Tile::kRows, column = OWL_BLOCK() / down * Tile::kColumns;
    multiply_tile<T, Tile>(a, row, column, shared, sums);
    OWL_ROLLED
    for (int j = 0; j < Tile::kThreadColumns; ++j) {
        stage_column<T, Tile>(shared, sums, j);
        OWL_BARRIER();
        OWL_THREADS(t) {
            for (int e = t; e < Sizes::kStage; e += Tile::kThreads) {
                const int64_t at_row = row + e % Tile::kRows, at_column = column + tile_column<T, Tile>(e / Tile::kRows, j);
                if (at_row < a.m && at_column < a.n) static_cast<T*>(a.c)[at_row + at_column * a.m] = shared[e];
            }
        }
        OWL_BARRIER();
    }
}

}  // namespace cuda
}  // namespace owl

OWL_KERNEL(gemm_f32_small, owl::cuda::GemmLaunch) { owl::cuda::multiply<float, owl::cuda::SmallTile<float>>(a); }
OWL_KERNEL(gemm_f32_large, owl::cuda::GemmLaunch) { owl::cuda::multiply<float, owl::cuda::LargeTile<float>>(a); }
OWL_KERNEL(gemm_f64_small, owl::cuda::GemmLaunch) { owl::cuda::multiply<double, owl::cuda::SmallTile<double>>(a); }
OWL_KERNEL(gemm_f64_large, owl::cuda::GemmLaunch) { owl::cuda::multiply<double, owl::cuda::LargeTile<double>>(a); }
