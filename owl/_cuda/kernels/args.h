// What kernels are launched with: by value, within the 4096 bytes that every driver takes. Both compilers must lay it out alike.
#pragma once
#include "_engine/graph/convolution.h"
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

constexpr int kCumsumThreads = 256;

// Of a dense [inner, length, outer], along `length`.
struct CumsumLaunch {
    int64_t inner, length, outer;
    int64_t reverse;  // 1: from the last number on
    const void* x;
    void* y;
};
static_assert(sizeof(CumsumLaunch) == 48, "the same in both compilers");

constexpr int kTakeThreads = 256;

// take: x [inner, length, outer], y [inner, count, outer]; take_back: the other way round.
struct TakeLaunch {
    int64_t inner, length, count, outer;
    int64_t back;  // 1: of a take_back
    const void* x;
    const void* indices;  // [count], of the arrays' type
    void* y;
};
static_assert(sizeof(TakeLaunch) == 64, "the same in both compilers");

constexpr int kSoftmaxThreads = 256;

struct SoftmaxLaunch {
    int64_t inner, length, outer;
    const void* x;
    const void* label;  // of the shape of x, for a loss and a difference; null otherwise
    void* y;
    SoftmaxKind kind;
};
static_assert(sizeof(SoftmaxLaunch) == 56, "the same in both compilers");

// A block's tile of a matrix product, and how it is shared out: a thread has kThreadRows x kThreadColumns elements. The tile
// is made of kDepth rows of k at a time.
template <int rows, int columns, int depth, int thread_rows, int thread_columns>
struct GemmTile {
    static constexpr int kRows = rows, kColumns = columns, kDepth = depth;
    static constexpr int kThreadRows = thread_rows, kThreadColumns = thread_columns;
    static constexpr int kThreads = rows * columns / (thread_rows * thread_columns);
};
template <class T>
struct LargeTile : GemmTile<128, 64, 8, 8, 4> {};
template <>
struct LargeTile<double> : GemmTile<64, 64, 8, 4, 4> {};
template <class T>
struct SmallTile : GemmTile<32, 32, 16, 4, 4> {};
template <>
struct SmallTile<double> : GemmTile<32, 32, 8, 4, 4> {};

// C[m, n] = A[m, k] B[k, n], a block for each tile, tiles of a column one after the other. C is dense.
struct GemmLaunch {
    int64_t m, n, k;
    int64_t a_row, a_col, b_row, b_col;  // A(i, l) = a[i * a_row + l * a_col], B(l, j) = b[l * b_row + j * b_col]
    const void *a, *b;                   // not read where k is 0
    void* c;
};
static_assert(sizeof(GemmLaunch) == 80, "the same in both compilers");

// A program over [m, n] with the product in register 0, which is stored where it is an output. The other inputs, from number 1
// on, have strides; outputs are dense.
struct GemmProgramLaunch {
    GemmLaunch product;                    // without its c
    int64_t stride[kMaxProgramInputs][2];  // in elements
    const void* input[kMaxProgramInputs];
    void* output[kMaxProgramOutputs];
    double scalar[kMaxProgramScalars];
    Instruction instruction[kMaxProgramInstructions];
    DType input_type[kMaxProgramInputs], output_type[kMaxProgramOutputs];
    uint8_t output_register[kMaxProgramOutputs];
    uint8_t n_inputs, n_outputs, n_instructions;
};
static_assert(sizeof(GemmProgramLaunch) == 2240, "the same in both compilers");
static_assert(sizeof(GemmProgramLaunch) <= kMostArgumentBytes, "");
static_assert(offsetof(GemmProgramLaunch, instruction) == 1488 && offsetof(GemmProgramLaunch, n_inputs) == 2232, "");

constexpr int kConvThreads = 128;
constexpr int kConvPixels = 64;      // of a tile
constexpr int kConvNarrow = 16;      // channels of a tile
template <class T>
constexpr int kConvWide = sizeof(T) == 4 ? 64 : 32;  // likewise, as many as there are registers for
constexpr int kConvPooled = 4;       // pixels of a window that is pooled in a convolution's pass
constexpr int kConvFewChannels = 4;  // up to as many there are no tiles

// One dimension of a convolution, or of its adjoint in the data. Position r + classes * j of the result reads, for each of its
// taps k, position step * j + (r + lead + k * slope) / classes of the source, times the filter's number taps - 1 - k. The taps
// of a class r are those where the division leaves nothing: each `tap_step`-th one, if any.
struct ConvAxis {
    int64_t source, result, taps;  // how many
    int64_t step, classes, lead, slope, tap_step;
};

// source: [x.source, y.source, sources, groups, batch], result: [x.result, y.result, results, groups, batch].
struct ConvLaunch {
    ConvAxis x, y;
    int64_t sources, results;  // channels of a group
    int64_t groups, batch;
    int64_t source_step, result_step;  // in the filter, between channels
    const void* source;
    const void* filter;
    const void* bias;  // [results, groups] or null
    void* result;
    // With a pooling, whose windows have kConvPooled pixels and do not overlap: the result is [pool.out_w, pool.out_h, …].
    PoolWindow pool;
    void* positions;  // of the maxima, or null: as in PoolLaunch, in a byte each
    int64_t relu;     // 1: before the pooling
};
static_assert(sizeof(ConvLaunch) == 296, "the same in both compilers");

// The gradient of a filter or of the bias is a sum over positions, pixels of the result in all images. Parts of them have sums
// of their own; within a part of the filter's, stretches have.
constexpr int64_t kConvStretch = 256;  // positions
constexpr int kConvDepth = 8;          // positions, or products of a sum, of a panel in shared memory
constexpr int kConvDescribed = 16;     // likewise, whose places are computed at a time: those of one panel or two
constexpr int kConvNumbers = 32;       // numbers of a filter, of a tile
template <class T>
constexpr int kConvOutputs = sizeof(T) == 4 ? 64 : 32;  // output channels of a tile
constexpr int kConvFewOutputs = 8;                      // likewise, where a group has few

struct ConvGradientLaunch {
    ConvolutionSizes sizes;
    int64_t parts, part_positions;  // of a filter's: whole stretches
    int64_t elements;               // of the gradient
    const void* x;                  // of the bias: null
    const void* y_diff;
    void* part;  // [elements, parts]; the result itself if there is one part
    void* gradient;
};
static_assert(sizeof(ConvGradientLaunch) == 184, "the same in both compilers");

constexpr int kPoolThreads = 256;

struct PoolLaunch {
    PoolSizes sizes;
    // Of a maximum: where in its window it is, ky * w + kx from the window's unclipped corner.
    int64_t position_bytes;  // 1 or 8
    void* positions;         // forward: perhaps null; backward: of the forward pass, where there is no x
    const void* x;
    void* y;  // perhaps null
    const void* y_diff;
    const void* mask;  // of a relu below the pooling, or null: the pooled values; for a mean the data, of x_diff's shape
    void* x_diff;
};
static_assert(sizeof(PoolLaunch) == 152, "the same in both compilers");

constexpr int kLrnThreads = 128;

// Of data [inner, channels, batch].
struct LrnLaunch {
    int64_t inner, channels, batch;
    int64_t half;           // channels on either side that take part
    double share, power;    // scale = 1 + share * sum, y = x * scale^power
    const void* x;
    void* scale;  // perhaps null
    void* y;      // likewise
};
static_assert(sizeof(LrnLaunch) == 72, "the same in both compilers");

struct LrnBackwardLaunch {
    int64_t inner, channels, batch;
    int64_t half;
    double factor, power;  // x_diff = y_diff * scale^power - factor * x * sum of y_diff * y / scale
    const void* x;
    const void* y;
    const void* scale;
    const void* y_diff;
    void* x_diff;
};
static_assert(sizeof(LrnBackwardLaunch) == 88, "the same in both compilers");

}  // namespace cuda
}  // namespace owl
