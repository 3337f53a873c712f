// The words that operations are described in, and their limits: the engine's, the kernels', and those of the API.
//
// Kernel files include this, so it has C headers only and no function that the linker could take from one of them.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace owl {

constexpr int kMaxDims = 8;

enum class DType : uint8_t { f32 = 0, f64 = 1, u8 = 2 };  // u8 is internal: masks and argmax positions
static inline size_t dtype_size(DType t) { return t == DType::f64 ? 8 : t == DType::f32 ? 4 : 1; }

// The element-wise operations are listed once, in operations.def.
enum class Elementwise : uint8_t {
#define OWL_ELEMENTWISE(name, ...) name,
#include "operations.def"
#undef OWL_ELEMENTWISE
    count_
};

// NaN: as NumPy, it wins in all but the sum.
enum class Reduction : uint8_t { sum, max, min, argmax, argmin };
static constexpr bool is_position(Reduction reduction) { return reduction == Reduction::argmax || reduction == Reduction::argmin; }

// With e_i = exp(x_i - max x) and s their sum, along the middle dimension of a dense [inner, length, outer]:
enum class SoftmaxKind : uint8_t {
    plain,       // e_i / s
    logarithm,   // (x_i - max x) - ln s
    loss,        // the sum of label_i * (ln s - (x_i - max x)), without those whose label is 0: [outer] numbers; inner is 1
    difference,  // e_i / s - label_i, the gradient of the loss; inner is 1
};

enum class Distribution : uint8_t { normal, bernoulli, uniform };

// Of a product of float32 matrices, and of a convolution: highest multiplies float32 numbers; high may round them to TF32 first.
enum class Precision : uint8_t { highest, high };

enum class PoolOp : uint8_t { none, max, average };

// The argmax of a window is the position ky * w + kx in it, counted from the window's unclipped corner; it is a byte,
// so larger windows have none and their backward pass looks for the maximum again.
constexpr int64_t kMaxArgmaxWindow = 256;

enum class ConvAlgorithm : uint8_t { automatic, direct };  // automatic: by shape

// What one pass over memory may hold, whatever device makes it.
constexpr int kMaxProgramRegisters = 64;   // registers are blocks of elements
constexpr int kMaxProgramInputs = 24;
constexpr int kMaxProgramOutputs = 40;
constexpr int kMaxProgramScalars = 64;
constexpr int kMaxProgramInstructions = 128;
constexpr int kMaxProgramSums = 8;

constexpr int kScalarOperand = 128;  // an operand from here on is a scalar, the same for all elements: number operand - 128
// A sum over columns adds groups of this many columns one after the other, then the groups' sums one after the other:
// the order that a sum on its own and a sum in another kernel's pass have in common.
constexpr int64_t kSumGroup = 240;
// Longer sums of adjacent numbers, on every device: a run is cut into pieces, whose numbers are added in lanes and the lanes by
// halves; pieces are added one after the other, up to so many. Shorter runs, and lines of softmax, are added number by number.
constexpr int64_t kReducePiece = 2048;
constexpr int64_t kReducePieces = 16;
constexpr int64_t kReduceShortRun = 64, kSoftmaxShortLine = 64;
constexpr int kReduceLaneBytes = 256, kSoftmaxLaneBytes = 256;

// A running sum is begun anew for each piece of so many numbers, and the sum of the pieces before is added to it.
constexpr int64_t kScanPiece = 256;

struct Instruction {
    Elementwise op;
    uint8_t dst;      // a register; may equal an operand's
    uint8_t a, b, c;  // registers or scalars; those beyond the operation's arity are ignored
};

// Registers 0 … n_inputs-1 hold the inputs when a block starts. Arithmetic is done in `dtype`; inputs and outputs of the
// other floating type are converted when loaded and stored. All registers are assigned before they are read.
struct Program {
    DType dtype;
    uint8_t n_inputs, n_outputs, n_sums, n_registers;
    uint8_t n_instructions, n_scalars;
    uint8_t output_register[kMaxProgramOutputs];
    uint8_t sum_register[kMaxProgramSums];  // summed over all dimensions but the first: only where the space is [m, n]
    Instruction instruction[kMaxProgramInstructions];
};

}  // namespace owl
