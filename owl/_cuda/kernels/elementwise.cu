// Element-wise programs, by an interpreter: each thread has a column of registers in shared memory and goes through the
// program once for each of its elements. Sums over columns are made in the same pass, a thread for each row, so that a sum has
// the CPU's order of additions.
#include "program.cuh"

namespace owl {
namespace cuda {

template <class T, class Index, class Registers>
OWL_DEVICE void load_inputs(const ElementwiseLaunch& a, Registers& registers, int t, Index at) {
    Index place[kMaxDims];
    OWL_UNROLL
    for (int d = 0; d < kMaxDims; ++d) {
        place[d] = 0;
        if (d >= a.ndim) continue;
        const Index length = static_cast<Index>(a.shape[d]);
        place[d] = at % length;
        at /= length;
    }
    for (int k = 0; k < a.n_inputs; ++k) {
        int64_t offset = 0;
        OWL_UNROLL
        for (int d = 0; d < kMaxDims; ++d) offset += static_cast<int64_t>(place[d]) * a.stride[k][d];
        registers[k * kElementwiseThreads<T> + t] = load<T>(a.input[k], a.input_type[k], offset);
    }
}

template <class T, class Index, int kRegisters>
OWL_DEVICE void run_elements(const ElementwiseLaunch& a) {
    OWL_SHARED(T, registers, kRegisters * kElementwiseThreads<T>);
    OWL_THREADS(t) {
        const Index size = static_cast<Index>(a.size), step = static_cast<Index>(OWL_BLOCKS()) * kElementwiseThreads<T>;
        for (Index at = static_cast<Index>(OWL_BLOCK()) * kElementwiseThreads<T> + t; at < size; at += step) {
            load_inputs<T, Index>(a, registers, t, at);
            run_program<T, kElementwiseThreads<T>>(a, registers, t);
            store_outputs<T, kElementwiseThreads<T>>(a, registers, t, at);
        }
    }
}

template <class T, int kRegisters>
OWL_DEVICE void run_rows(const ElementwiseLaunch& a) {
    OWL_SHARED(T, registers, kRegisters * kElementwiseThreads<T>);
    const auto [group, first_row, first, last] = block_of_rows<T>(a);
    OWL_THREADS(t) {
        const int64_t row = first_row + t;
        if (row < a.rows) {
            T sum[kMaxProgramSums];
            OWL_UNROLL
            for (int s = 0; s < kMaxProgramSums; ++s) sum[s] = T(0);
            for (int64_t column = first; column < last; ++column) {
                for (int k = 0; k < a.n_inputs; ++k) {
                    const int64_t at = row * a.stride[k][0] + column * a.stride[k][1];
                    registers[k * kElementwiseThreads<T> + t] = load<T>(a.input[k], a.input_type[k], at);
                }
                run_program<T, kElementwiseThreads<T>>(a, registers, t);
                store_outputs<T, kElementwiseThreads<T>>(a, registers, t, row + column * a.rows);
                OWL_UNROLL
                for (int s = 0; s < kMaxProgramSums; ++s)
                    if (s < a.n_sums) sum[s] = sum[s] + static_cast<T>(registers[a.sum_register[s] * kElementwiseThreads<T> + t]);
            }
            OWL_UNROLL
            for (int s = 0; s < kMaxProgramSums; ++s)
                if (s < a.n_sums) static_cast<T*>(a.part[s])[group * a.rows + row] = sum[s];
        }
    }
}

// The groups' sums in order, where there are several.
template <class T>
OWL_DEVICE void add_groups(const ElementwiseLaunch& a) {
    OWL_THREADS(t) {
        const int64_t row = OWL_BLOCK() * kElementwiseThreads<T> + t;
        const int64_t groups = (a.columns + kSumGroup - 1) / kSumGroup;
        if (row < a.rows) {
            for (int s = 0; s < a.n_sums; ++s) {
                const T* part = static_cast<const T*>(a.part[s]) + row;
                T sum = part[0];
                for (int64_t group = 1; group < groups; ++group) sum = sum + part[group * a.rows];
                static_cast<T*>(a.sum[s])[row] = sum;
            }
        }
    }
}

}  // namespace cuda
}  // namespace owl

// By the program's dtype, the width of indices (32 bits where size + blocks * threads is below 2^31), and the registers.
#define OWL_ELEMENTS(T, type, Index, width, count)                                        \
    OWL_KERNEL(elementwise_##type##_##width##_##count, owl::cuda::ElementwiseLaunch) {   \
        owl::cuda::run_elements<T, Index, count>(a);                                     \
    }
#define OWL_ROWS(T, type, count)                                                \
    OWL_KERNEL(elementwise_rows_##type##_##count, owl::cuda::ElementwiseLaunch) { \
        owl::cuda::run_rows<T, count>(a);                                       \
    }
OWL_ELEMENTS(float, f32, int32_t, i32, 16)
OWL_ELEMENTS(float, f32, int32_t, i32, 64)
OWL_ELEMENTS(float, f32, int64_t, i64, 16)
OWL_ELEMENTS(float, f32, int64_t, i64, 64)
OWL_ELEMENTS(double, f64, int32_t, i32, 16)
OWL_ELEMENTS(double, f64, int32_t, i32, 64)
OWL_ELEMENTS(double, f64, int64_t, i64, 16)
OWL_ELEMENTS(double, f64, int64_t, i64, 64)
OWL_ROWS(float, f32, 16)
OWL_ROWS(float, f32, 64)
OWL_ROWS(double, f64, 16)
OWL_ROWS(double, f64, 64)
OWL_KERNEL(elementwise_groups_f32, owl::cuda::ElementwiseLaunch) { owl::cuda::add_groups<float>(a); }
OWL_KERNEL(elementwise_groups_f64, owl::cuda::ElementwiseLaunch) { owl::cuda::add_groups<double>(a); }
#undef OWL_ELEMENTS
#undef OWL_ROWS
