// The CPU kernels as the executor sees them: argument structs, and one table of kernels per instruction set.
//
// Every kernel file is compiled once per instruction set, with OWL_ISA set to avx512, avx2 or generic, and puts all its
// code into namespace owl::OWL_ISA. To keep one set's code out of another's, kernel files include C headers only: an
// inline function of the standard library compiled with AVX-512 flags could be the copy that the linker keeps.
//
// Rules for a kernel:
//  - Work is cut into chunks by shape alone, never by the number of threads, so the same input gives the same bits
//    however many threads share it. Chunks of one phase may run in any order and at the same time.
//  - Nothing allocates. A kernel states how many bytes of private scratch a thread needs and how many bytes of shared
//    workspace a call needs; the plan reserves both before its first kernel runs.
//  - Multiplication and addition are contracted into FMA inside a matrix product or convolution, never elsewhere.
//  - An element's result must not depend on its position: tails go through the same vector code as the bulk.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "_engine/graph/words.h"

namespace owl {

struct Kernel {
    const char* name;
    int (*phases)(const void* args);                  // at least 1; all chunks of a phase end before the next begins
    int64_t (*chunks)(const void* args, int phase);   // by shape alone
    void (*run)(const void* args, int phase, int64_t begin, int64_t end, void* scratch);
    size_t (*scratch)(const void* args);              // bytes, private to a thread, 64-byte aligned, content undefined
    size_t (*workspace)(const void* args);            // bytes, shared, passed in args->workspace, content undefined
};

// ---------------------------------------------------------------------------------------------- element-wise programs

struct StridedArray {
    void* data;
    DType dtype;
    int64_t stride[kMaxDims];  // in elements; 0 repeats the operand along that dimension
};

// The program runs over a space of `ndim` dimensions, the first one fastest. Outputs are dense in that order; an output
// may be the very buffer of a dense input (then each element is read before it is written).
struct ElementwiseArgs {
    const Program* program;
    const double* scalars;
    int ndim;
    int64_t shape[kMaxDims];
    StridedArray input[kMaxProgramInputs];
    StridedArray output[kMaxProgramOutputs];
    void* sum[kMaxProgramSums];  // [shape[0]], of the program's dtype
    void* workspace;
};

// ------------------------------------------------------------------------------------------------------ matrix product

// C[m, n] = A[m, k] B[k, n]; each element adds its k products in the order of k, by FMA where the instruction set has it.
// C is dense and column-major. Without an epilogue it is stored to `c`. With one, each tile of C becomes the epilogue's
// input 0 while it is in cache, and the epilogue's outputs are stored instead (input[0] is unused; the other inputs
// have strides over [m, n]).
struct GemmArgs {
    DType dtype;
    int64_t m, n, k;
    const void* a;
    int64_t a_row, a_col;  // A(i, l) = a[i * a_row + l * a_col]
    const void* b;
    int64_t b_row, b_col;  // B(l, j) = b[l * b_row + j * b_col]
    void* c;
    const Program* epilogue;
    const double* scalars;
    StridedArray input[kMaxProgramInputs];
    StridedArray output[kMaxProgramOutputs];
    void* sum[kMaxProgramSums];  // [m]
    void* workspace;
};

// -------------------------------------------------------------------------------------------------------- the others

// Copies a strided region to another: transposes, slices, concatenations, conversions of type, broadcasts.
struct CopyArgs {
    DType from, to;
    int ndim;
    int64_t shape[kMaxDims];
    const void* src;
    int64_t src_stride[kMaxDims];
    void* dst;
    int64_t dst_stride[kMaxDims];
};

// Reduces the dimensions in `axes` (a bit mask) of a dense array; the result is dense. argmax and argmin give the position along
// the one reduced axis as a floating number, the first one of equals.
struct ReduceArgs {
    DType dtype;
    Reduction op;
    int ndim;
    int64_t shape[kMaxDims];
    uint32_t axes;
    double scale;  // the sum is multiplied by this, rounded once more (mean); 1 otherwise
    const void* x;
    void* y;
    void* workspace;
};

// The running sum along the middle dimension of a dense [inner, length, outer].
struct CumsumArgs {
    DType dtype;
    bool reverse;  // from the last number on
    int64_t inner, length, outer;
    const void* x;
    void* y;
};

// take: of a dense x [inner, length, outer] the pieces at `count` positions along `length`, y [inner, count, outer]; NaN for an
// index that is no position. take_back: y [inner, length, outer] is the sum of x [inner, count, outer] by positions.
struct TakeArgs {
    DType dtype;
    int64_t inner, length, count, outer;
    const void* x;
    const void* indices;  // of that dtype
    void* y;
};

// Along the middle dimension of a dense [inner, length, outer].
struct SoftmaxArgs {
    DType dtype;
    SoftmaxKind kind;
    int64_t inner, length, outer;
    const void* x;
    const void* label;  // dense, of the shape of x; for the last two kinds
    void* y;
};

// Philox 4x32-10 (Salmon et al., SC'11): element i depends on (seed, stream, counter, i) alone.
struct RandomArgs {
    DType dtype;
    Distribution op;
    int64_t size;
    uint64_t seed, stream, counter;
    double p0, p1;  // normal: mean, standard deviation; bernoulli: probability of a 1; uniform: low, high
    void* y;
};

struct KernelTable {
    const char* isa;
    int vector_bytes;
    Kernel elementwise, gemm, copy, reduce, cumsum, take, take_back, softmax, random;
    Kernel conv_forward, conv_backward_data, conv_backward_filter;
    Kernel pool_forward, pool_backward, lrn_forward, lrn_backward;
};

// The table for this machine, or for OWL_ISA=avx512|avx2|generic. nullptr, with a reason in *error, if that cannot run here.
const KernelTable* select_kernels(const char* forced, const char** error);

namespace avx512 { extern const KernelTable table; }
namespace avx2 { extern const KernelTable table; }
namespace generic { extern const KernelTable table; }

}  // namespace owl
