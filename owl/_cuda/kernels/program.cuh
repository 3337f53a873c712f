// The interpreter of element-wise programs, for every kernel that runs one.
//
// A thread's registers are a column of a shared array: register r lies at r * kPitch + t. `Args` is a launch that carries a
// program, of args.h.
#pragma once
#define OWL_ISA cuda
#define OWL_SCALARS 1
#include "_cpu/kernels/arithmetic.h"
#include "args.h"
#include "simt.cuh"

namespace owl {
namespace cuda {

template <class T>
OWL_DEVICE T apply(Elementwise op, T x, T y, T z) {
    using V = T;
    switch (op) {
#define OWL_ELEMENTWISE(name, arity, expression, ...) \
    case Elementwise::name: return expression;
#include "_engine/graph/operations.def"
#undef OWL_ELEMENTWISE
        default: return x;
    }
}

// What a block has of a program with sums: a stretch of rows in one group of columns.
struct BlockOfRows {
    int64_t group, first_row, first_column, last_column;
};
template <class T>
OWL_DEVICE BlockOfRows block_of_rows(const ElementwiseLaunch& a) {
    const int64_t stretches = (a.rows + kElementwiseThreads<T> - 1) / kElementwiseThreads<T>;
    const int64_t group = OWL_BLOCK() / stretches, first = group * kSumGroup;
    const int64_t last = first + kSumGroup < a.columns ? first + kSumGroup : a.columns;
    return {group, OWL_BLOCK() % stretches * kElementwiseThreads<T>, first, last};
}

template <class T>
OWL_DEVICE T load(const void* data, DType type, int64_t at) {
    return type == DType::f32 ? static_cast<T>(static_cast<const float*>(data)[at])
                              : static_cast<T>(static_cast<const double*>(data)[at]);
}

template <class T>
OWL_DEVICE void store(void* data, DType type, int64_t at, T value) {
    if (type == DType::f32)
        static_cast<float*>(data)[at] = static_cast<float>(value);
    else
        static_cast<double*>(data)[at] = static_cast<double>(value);
}

template <class T, int kPitch, class Args, class Registers>
OWL_DEVICE T operand(const Args& a, Registers& registers, int number, int t) {
    if (number >= kScalarOperand) return static_cast<T>(a.scalar[number - kScalarOperand]);
    return registers[number * kPitch + t];
}

template <class T, int kPitch, class Args, class Registers>
OWL_DEVICE void run_program(const Args& a, Registers& registers, int t) {
    OWL_ROLLED
    for (int i = 0; i < a.n_instructions; ++i) {
        const Instruction in = a.instruction[i];
        const T x = operand<T, kPitch>(a, registers, in.a, t);
        const T y = operand<T, kPitch>(a, registers, in.b, t);
        const T z = operand<T, kPitch>(a, registers, in.c, t);
        registers[in.dst * kPitch + t] = apply(in.op, x, y, z);
    }
}

template <class T, int kPitch, class Args, class Registers>
OWL_DEVICE void store_outputs(const Args& a, Registers& registers, int t, int64_t at) {
    for (int k = 0; k < a.n_outputs; ++k)
        store<T>(a.output[k], a.output_type[k], at, registers[a.output_register[k] * kPitch + t]);
}

}  // namespace cuda
}  // namespace owl
