// Matrix products with an element-wise program on each tile before it is stored: the operations that share the product's pass.
#include "program.cuh"
#include "gemm.cuh"

namespace owl {
namespace cuda {

constexpr int kProgramBytes = 16 << 10;  // of shared memory for the program's registers, beside the staged column

template <class T, class Tile, int kRegisters>
OWL_DEVICE void multiply_and_run(const GemmProgramLaunch& a) {
    using Sizes = GemmSizes<T, Tile>;
    // As many threads as have room for their registers run the program.
    constexpr int kRoom = kProgramBytes / (kRegisters * static_cast<int>(sizeof(T)));
    constexpr int kLanes = kRoom < Tile::kThreads ? kRoom : Tile::kThreads;
    constexpr int kNeeded = Sizes::kStage + kRegisters * kLanes;
    OWL_SHARED(T, shared, kNeeded < Sizes::kShared ? Sizes::kShared : kNeeded);
    OWL_PRIVATE(T, sums, Sizes::kOwn);
    const int64_t m = a.product.m, n = a.product.n, down = (m + Tile::kRows - 1) / Tile::kRows;
    const int64_t row = OWL_BLOCK() % down * Tile::kRows, column = OWL_BLOCK() / down * Tile::kColumns;
    multiply_tile<T, Tile>(a.product, row, column, shared, sums);
    OWL_ROLLED
    for (int j = 0; j < Tile::kThreadColumns; ++j) {
        stage_column<T, Tile>(shared, sums, j);
        OWL_BARRIER();
        OWL_THREADS(t) {
            const int mine = Sizes::kStage + t;  // this thread's register 0
            OWL_ROLLED
            for (int e = t; t < kLanes && e < Sizes::kStage; e += kLanes) {
                const int64_t at_row = row + e % Tile::kRows, at_column = column + tile_column<T, Tile>(e / Tile::kRows, j);
                if (at_row >= m || at_column >= n) continue;
                shared[mine] = shared[e];
                OWL_ROLLED
                for (int k = 1; k < a.n_inputs; ++k) {
                    const int64_t at = at_row * a.stride[k][0] + at_column * a.stride[k][1];
                    shared[mine + k * kLanes] = load<T>(a.input[k], a.input_type[k], at);
                }
                run_program<T, kLanes>(a, shared, mine);
                store_outputs<T, kLanes>(a, shared, mine, at_row + at_column * m);
            }
        }
        OWL_BARRIER();
    }
}

}  // namespace cuda
}  // namespace owl

// By the program's dtype, the tile and the registers: programs of many are rare, and have small tiles.
#define OWL_GEMM_PROGRAM(T, type, Tile, tile, count)                                 \
    OWL_KERNEL(gemm_program_##type##_##tile##_##count, owl::cuda::GemmProgramLaunch) { \
        owl::cuda::multiply_and_run<T, owl::cuda::Tile<T>, count>(a);                \
    }
OWL_GEMM_PROGRAM(float, f32, SmallTile, small, 64)
OWL_GEMM_PROGRAM(float, f32, SmallTile, small, 16)
OWL_GEMM_PROGRAM(float, f32, LargeTile, large, 16)
OWL_GEMM_PROGRAM(double, f64, SmallTile, small, 64)
OWL_GEMM_PROGRAM(double, f64, SmallTile, small, 16)
OWL_GEMM_PROGRAM(double, f64, LargeTile, large, 16)
#undef OWL_GEMM_PROGRAM
