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

constexpr int kReduceThreads = 256;
constexpr int kReduceLaneBytes = 256;  // the numbers of a piece are added in so many bytes of lanes
constexpr int64_t kReducePiece = 2048;  // numbers
constexpr int kReducePieces = 16;       // of a group, added one after the other
constexpr int64_t kReduceShortRun = 64;  // up to here a run is added number by number
constexpr int kReducePair = 8;           // so many groups of pieces are added one after the other, more by halves

// The product of some dimensions, the first one fastest, as a sequence of positions. Neighboring dimensions are of two kinds.
struct ReduceWalk {
    int64_t count[kMaxDims / 2], stride[kMaxDims / 2];
    int64_t total, ndim;
};

// Each of kept.total outputs has reduced.total runs of adjacent numbers. `part` is null where one launch makes the result.
struct ReduceLaunch {
    ReduceWalk kept, reduced;
    int64_t run;     // numbers; 1 where dimension 0 is kept
    int64_t pieces;  // of a run, where it is long
    int64_t groups;  // of an output: of runs, or of pieces where runs are long
    double scale;    // the sum is multiplied by this, rounded once more (mean); 1 otherwise
    const void* x;
    void* y;
    void* part;  // [groups, outputs], where runs are long [outputs, groups]
    Reduction op;
};
static_assert(sizeof(ReduceLaunch) == 224, "the same in both compilers");

constexpr int kSoftmaxThreads = 256;
constexpr int kSoftmaxLaneBytes = 256;    // the numbers of a long line are added in so many bytes of lanes
constexpr int64_t kSoftmaxShortLine = 64;  // up to here a thread has a line

struct SoftmaxLaunch {
    int64_t inner, length, outer;
    const void* x;
    const void* label;  // of the shape of x, for a loss and a difference; null otherwise
    void* y;
    SoftmaxKind kind;
};
static_assert(sizeof(SoftmaxLaunch) == 56, "the same in both compilers");

}  // namespace cuda
}  // namespace owl
