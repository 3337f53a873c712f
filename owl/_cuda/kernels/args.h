// What kernels are launched with: by value, within the 4096 bytes that every driver takes. Both compilers must lay it out alike.
#pragma once
#include "_engine/graph/words.h"

namespace owl {
namespace cuda {

constexpr int kMostArgumentBytes = 4096;

// Threads of a block: 64 registers of each take 32 KiB.
template <class T>
constexpr int kElementwiseThreads = sizeof(T) == 4 ? 128 : 64;

// A program over `size` elements in a space of `ndim` dimensions, the first one fastest. Outputs are dense, inputs have strides.
// Registers 0 … n_inputs - 1 hold the inputs. With sums the space is [rows, columns].
struct ElementwiseLaunch {
    int64_t size, rows, columns;
    int64_t shape[kMaxDims];
    int64_t stride[kMaxProgramInputs][kMaxDims];  // in elements
    const void* input[kMaxProgramInputs];
    void* output[kMaxProgramOutputs];
    void* part[kMaxProgramSums];  // [rows, groups of columns]; the result itself if there is one group
    void* sum[kMaxProgramSums];   // [rows]
    double scalar[kMaxProgramScalars];
    Instruction instruction[kMaxProgramInstructions];
    DType input_type[kMaxProgramInputs], output_type[kMaxProgramOutputs];
    uint8_t output_register[kMaxProgramOutputs], sum_register[kMaxProgramSums];
    uint8_t ndim, n_inputs, n_outputs, n_sums, n_instructions;
};
static_assert(sizeof(ElementwiseLaunch) == 3536, "the same in both compilers");
static_assert(sizeof(ElementwiseLaunch) <= kMostArgumentBytes, "");
static_assert(offsetof(ElementwiseLaunch, instruction) == 2776 && offsetof(ElementwiseLaunch, ndim) == 3528, "");

constexpr int kCopyThreads = 256;
constexpr int kCopyTile = 32;  // elements along each side

struct CopyLaunch {
    int64_t size;  // elements
    int64_t shape[kMaxDims];
    int64_t src_stride[kMaxDims], dst_stride[kMaxDims];  // in elements
    const void* src;
    void* dst;
    int64_t ndim;
};
static_assert(sizeof(CopyLaunch) == 224, "the same in both compilers");

constexpr int kRandomThreads = 128;

struct RandomLaunch {
    int64_t size;  // elements
    uint64_t seed, stream, counter;
    double p0, p1;
    void* y;
    Distribution distribution;
};
static_assert(sizeof(RandomLaunch) == 64, "the same in both compilers");

}  // namespace cuda
}  // namespace owl
