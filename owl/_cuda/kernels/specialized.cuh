// What a program that runs often is compiled with (owl/_cuda/specialized.py): its operations are statements and its registers
// are variables, and it is launched as the interpreter of elementwise.cu is. The bits are the interpreter's: the expressions are
// the same, over the same functions, and so is the order of sums.
//
// `Code` is the program: the types Number and Index, arrays of Numbers for its Inputs, Outputs, Sums and Scalars, and
//   is_aligned(a): the arrays that are read or written in packs begin at multiples of 16 bytes;
//   convert(a, s): the scalars;   read_fixed(a, row, fixed): the inputs that do not change within a thread;
//   read(a, at, fixed, x): the inputs of n elements, with sums those of n columns;
//   compute(s, x, y, z): outputs and what is summed, of one element;
//   write(a, at, y): the outputs of n elements, with sums those of one.
// A thread takes kWidth elements at a time, as many as fill 16 bytes or one: their loads come before their stores. So an output
// may be written over an input whose elements are in the same places.
#pragma once
#include "packs.cuh"
#include "program.cuh"

namespace owl {
namespace cuda {

#define OWL_ELEMENTWISE(name, arity, expression, ...) \
    template <class T, class V = T>                   \
    OWL_DEVICE T apply_##name(T x, [[maybe_unused]] T y = T(), [[maybe_unused]] T z = T()) { return expression; }
#include "_engine/graph/operations.def"
#undef OWL_ELEMENTWISE

template <int k, class Stored, int n, class T, int inputs>
OWL_DEVICE void load_dense(const ElementwiseLaunch& a, int64_t at, T (&x)[n][inputs]) {
    const Pack<Stored, n> pack = *pack_at<Stored, n>(a.input[k], at);
    OWL_UNROLL
    for (int e = 0; e < n; ++e) x[e][k] = static_cast<T>(pack.value[e]);
}

template <int k, class Stored, int n, class T, int outputs>
OWL_DEVICE void store_dense(const ElementwiseLaunch& a, int64_t at, const T (&y)[n][outputs]) {
    Pack<Stored, n> pack;
    OWL_UNROLL
    for (int e = 0; e < n; ++e) pack.value[e] = static_cast<Stored>(y[e][k]);
    *pack_at<Stored, n>(a.output[k], at) = pack;
}

// `moving` has a bit for each dimension in which the input has a stride.
template <int k, class Stored, int moving, class Index, int n, int dims, class T, int inputs>
OWL_DEVICE void load_strided(const ElementwiseLaunch& a, const Index (&place)[n][dims], T (&x)[n][inputs]) {
    OWL_UNROLL
    for (int e = 0; e < n; ++e) {
        int64_t offset = 0;
        OWL_UNROLL
        for (int d = 0; d < dims; ++d)
            if (moving >> d & 1) offset += static_cast<int64_t>(place[e][d]) * a.stride[k][d];
        x[e][k] = static_cast<T>(static_cast<const Stored*>(a.input[k])[offset]);
    }
}

// Of the element `at`: its place in each dimension. Those that are not used cost nothing.
template <class Index, int dims>
OWL_DEVICE void find_place(const ElementwiseLaunch& a, Index at, Index (&place)[dims]) {
    OWL_UNROLL
    for (int d = 0; d < dims; ++d) {
        const Index length = static_cast<Index>(a.shape[d]);
        place[d] = d + 1 < dims ? at % length : at;
        at /= length;
    }
}

template <class Code, int n>
OWL_DEVICE void run_at(const ElementwiseLaunch& a, const typename Code::Scalars& s, const typename Code::Inputs& fixed,
                       typename Code::Index at) {
    typename Code::Inputs x[n];
    typename Code::Outputs y[n];
    typename Code::Sums none;
    Code::read(a, at, fixed, x);
    OWL_UNROLL
    for (int e = 0; e < n; ++e) Code::compute(s, x[e], y[e], none);
    Code::write(a, at, y);
}

template <class Code>
OWL_DEVICE void run_specialized_elements(const ElementwiseLaunch& a) {
    using T = typename Code::Number;
    using Index = typename Code::Index;
    OWL_THREADS(t) {
        const Index size = static_cast<Index>(a.size), step = static_cast<Index>(OWL_BLOCKS()) * kElementwiseThreads<T>;
        const Index first = static_cast<Index>(OWL_BLOCK()) * kElementwiseThreads<T> + t;
        if (first < size) {
            typename Code::Scalars s;
            typename Code::Inputs fixed;
            Code::convert(a, s);
            Code::read_fixed(a, 0, fixed);
            const Index packs = Code::kWidth > 1 && Code::is_aligned(a) ? size / Code::kWidth : 0;
            OWL_ROLLED
            for (Index pack = first; pack < packs; pack += step) run_at<Code, Code::kWidth>(a, s, fixed, pack * Code::kWidth);
            OWL_ROLLED
            for (Index at = packs * Code::kWidth + first; at < size; at += step) run_at<Code, 1>(a, s, fixed, at);
        }
    }
}

template <class Code, int n>
OWL_DEVICE void run_columns(const ElementwiseLaunch& a, const typename Code::Scalars& s, const typename Code::Inputs& fixed,
                            int64_t row, int64_t column, typename Code::Sums& sum) {
    typename Code::Inputs x[n];
    typename Code::Outputs y[n];
    int64_t place[n][2];
    OWL_UNROLL
    for (int e = 0; e < n; ++e) {
        place[e][0] = row;
        place[e][1] = column + e;
    }
    Code::read(a, place, fixed, x);
    OWL_UNROLL
    for (int e = 0; e < n; ++e) {
        typename Code::Sums z;
        Code::compute(s, x[e], y[e], z);
        OWL_UNROLL
        for (int i = 0; i < Code::kSums; ++i) sum[i] = sum[i] + z[i];
        Code::write(a, row + (column + e) * a.rows, y[e]);
    }
}

// As the interpreter's run_rows.
template <class Code>
OWL_DEVICE void run_specialized_rows(const ElementwiseLaunch& a) {
    using T = typename Code::Number;
    const auto [group, first_row, first, last] = block_of_rows<T>(a);
    OWL_THREADS(t) {
        const int64_t row = first_row + t;
        if (row < a.rows) {
            typename Code::Sums sum;
            OWL_UNROLL
            for (int i = 0; i < Code::kSums; ++i) sum[i] = T(0);
            if (first < last) {
                typename Code::Scalars s;
                typename Code::Inputs fixed;
                Code::convert(a, s);
                Code::read_fixed(a, row, fixed);
                int64_t column = first;
                OWL_ROLLED
                for (; Code::kWidth > 1 && column + Code::kWidth <= last; column += Code::kWidth)
                    run_columns<Code, Code::kWidth>(a, s, fixed, row, column, sum);
                OWL_ROLLED
                for (; column < last; ++column) run_columns<Code, 1>(a, s, fixed, row, column, sum);
            }
            OWL_UNROLL
            for (int i = 0; i < Code::kSums; ++i) static_cast<T*>(a.part[i])[group * a.rows + row] = sum[i];
        }
    }
}

}  // namespace cuda
}  // namespace owl
