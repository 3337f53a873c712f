// The interpreter of element-wise programs over one block of elements that stays in the L1 cache.
//
// A block is a number of columns, each padded to whole vectors, so every instruction is one loop over whole vectors and
// an element's result cannot depend on where it stands. A register is a block in scratch memory; an input may also be
// read where it lies, and a result written where it belongs, if whole vectors of it are contiguous there.
#pragma once
#include "_cpu/kernels/kernels.h"
#include "_cpu/kernels/lanes.h"
#include "_cpu/kernels/arithmetic.h"

namespace owl {
namespace OWL_ISA {

constexpr int kProgramBlock = 768;

// A position in a register or, with step 0, a vector that repeats a scalar.
template <class T>
struct ElementwiseSource {
    const T* p;
    ptrdiff_t step;
};

template <class T, int Arity, class F>
OWL_INLINE void program_loop(T* dst, int n, ElementwiseSource<T> a, ElementwiseSource<T> b, ElementwiseSource<T> c, F f) {
    for (int i = 0; i < n; i += kWidth<T>) {
        Vec<T> x = load(a.p), y{}, z{};
        a.p += a.step;
        if (Arity > 1) {
            y = load(b.p);
            b.p += b.step;
        }
        if (Arity > 2) {
            z = load(c.p);
            c.p += c.step;
        }
        store(dst + i, f(x, y, z));
    }
}

template <class T>
inline void program_apply(Elementwise op, T* dst, int n, ElementwiseSource<T> a, ElementwiseSource<T> b,
                          ElementwiseSource<T> c) {
    using V = Vec<T>;
    switch (op) {
#define OWL_ELEMENTWISE(name, arity, expression, ...)                                                     \
    case Elementwise::name:                                                                                        \
        program_loop<T, arity>(dst, n, a, b, c, [](V x, V y, V z) __attribute__((always_inline)) -> V {        \
            (void)x, (void)y, (void)z;                                                                    \
            return expression;                                                                            \
        });                                                                                               \
        break;
#include "_engine/graph/operations.def"
#undef OWL_ELEMENTWISE
        case Elementwise::count_: break;
    }
}

// n numbers, `stride` apart, to dst in whole vectors: up to a vector less one beyond dst + n is overwritten.
template <class T, class From>
OWL_INLINE void program_gather_run(T* dst, const From* src, int64_t stride, int n) {
    if (stride == 0) {
        const Vec<T> v = set1(T(*src));
        for (int i = 0; i < n; i += kWidth<T>) store(dst + i, v);
    } else if (stride == 1 && sizeof(T) == sizeof(From)) {
        for (int i = 0; i < n; i += kWidth<T>)
            store(dst + i, load_lanes((const T*)src + i, n - i < kWidth<T> ? n - i : kWidth<T>));
    } else {
        for (int i = 0; i < n; i++) dst[i] = T(src[i * stride]);
        for (int i = n; i % kWidth<T>; i++) dst[i] = T(0);
    }
}

template <class T>
class Interpreter {
  public:
    static size_t bytes(const Program& p) {
        return (size_t(p.n_registers) * kPitch + size_t(p.n_scalars) * kWidth<T>) * sizeof(T);
    }

    Interpreter(const Program& p, const double* scalars, void* scratch)
        : program_(p), registers_((T*)scratch), scalars_(registers_ + size_t(p.n_registers) * kPitch) {
        for (int s = 0; s < p.n_scalars; s++) store_aligned(scalars_ + s * kWidth<T>, set1(T(scalars[s])));
        for (int i = 0; i < p.n_instructions; i++) direct_[i] = kNowhere;
        for (int k = 0; k < p.n_outputs; k++) target_[k] = nullptr;
        for (int r = 0; r < p.n_registers; r++) place_[r] = own(r);
    }

    T* own(int r) { return registers_ + size_t(r) * kPitch; }
    const T* value(int r) const { return place_[r]; }
    void keep(int r) { place_[r] = own(r); }                  // input r is in its own block
    void read_at(int r, const T* p) { place_[r] = p; }        // input r is read in place
    void write_at(int output, T* p) { target_[output] = p; }  // null: not in place

    // Lets the instruction that gives output k its value write it to the place set by write_at. Not where memory of an
    // input would be overwritten that a later instruction still reads.
    void allow_direct(int k, bool shares_memory_with_input) {
        for (int i = program_.n_instructions - 1; i >= 0; i--) {
            if (program_.instruction[i].dst != program_.output_register[k]) continue;
            if (direct_[i] == kNowhere && (!shares_memory_with_input || i == program_.n_instructions - 1))
                direct_[i] = uint8_t(k);
            return;
        }
    }

    void run(int n) {  // n: elements, whole vectors
        for (int i = 0; i < program_.n_instructions; i++) {
            const Instruction& in = program_.instruction[i];
            T* dst = direct_[i] != kNowhere && target_[direct_[i]] ? target_[direct_[i]] : own(in.dst);
            program_apply<T>(in.op, dst, n, source(in.a), source(in.b), source(in.c));
            place_[in.dst] = dst;
        }
    }

  private:
    static constexpr int kPitch = kProgramBlock + kWidth<T>;  // program_gather_run's slack
    static constexpr uint8_t kNowhere = 255;

    ElementwiseSource<T> source(uint8_t operand) const {
        if (operand >= kScalarOperand) return {scalars_ + (operand - kScalarOperand) * kWidth<T>, 0};
        return {place_[operand < kMaxProgramRegisters ? operand : 0], kWidth<T>};
    }

    const Program& program_;
    T* registers_;
    T* scalars_;
    const T* place_[kMaxProgramRegisters];
    T* target_[kMaxProgramOutputs];
    uint8_t direct_[kMaxProgramInstructions];
};

// ------------------------------------------------------------------------------------------------ tiles of an [m, n]

// A tile in a block: `columns` columns of `rows` elements, `pitch` apart, pitch * columns <= kProgramBlock.
struct ProgramTile {
    int64_t row, column;
    int rows, columns, pitch;
};

template <class T>
inline void program_load_tile(T* dst, const StridedArray& x, const ProgramTile& t) {
    const int64_t s0 = t.rows == 1 ? 1 : x.stride[0], s1 = x.stride[1];
    const int64_t at = t.row * x.stride[0] + t.column * s1;
    for (int j = 0; j < t.columns; j++) {
        if (x.dtype == DType::f32)
            program_gather_run(dst + j * t.pitch, (const float*)x.data + at + j * s1, s0, t.rows);
        else
            program_gather_run(dst + j * t.pitch, (const double*)x.data + at + j * s1, s0, t.rows);
    }
}

template <class T, class To>
inline void program_store_run(To* dst, const T* src, int n) {
    if (sizeof(T) == sizeof(To)) {
        for (int i = 0; i < n; i += kWidth<T>)
            store_lanes((T*)dst + i, load(src + i), n - i < kWidth<T> ? n - i : kWidth<T>);
    } else {
        for (int i = 0; i < n; i++) dst[i] = To(src[i]);
    }
}

template <class T>
inline void program_store_tile(const StridedArray& y, int64_t m, const T* src, const ProgramTile& t) {
    for (int j = 0; j < t.columns; j++) {
        const int64_t at = t.row + (t.column + j) * m;
        if (y.dtype == DType::f32) program_store_run((float*)y.data + at, src + j * t.pitch, t.rows);
        else program_store_run((double*)y.data + at, src + j * t.pitch, t.rows);
    }
}

// Runs a program on one tile: loads inputs first_input …, stores all outputs, adds the columns of the sum registers to
// `sums` ([n_sums][pitch]), one column after the other.
template <class T>
inline void program_run_tile(Interpreter<T>& block, const Program& p, const StridedArray* input, int first_input,
                        const StridedArray* output, int64_t m, const ProgramTile& t, T* sums) {
    for (int r = 0; r < p.n_inputs; r++) {
        if (r >= first_input) program_load_tile(block.own(r), input[r], t);
        block.keep(r);
    }
    block.run(t.pitch * t.columns);
    for (int k = 0; k < p.n_outputs; k++) program_store_tile(output[k], m, block.value(p.output_register[k]), t);
    for (int s = 0; s < p.n_sums; s++)
        for (int i = 0; i < t.pitch; i += kWidth<T>) {
            T* total = sums + s * t.pitch + i;
            const T* x = block.value(p.sum_register[s]) + i;
            Vec<T> acc = load(total);
            for (int j = 0; j < t.columns; j++) acc = acc + load(x + j * t.pitch);
            store(total, acc);
        }
}

// ------------------------------------------------------------------------------------------ sums by groups of columns

inline int64_t program_sum_groups(int64_t n) { return max64(1, ceil_div(n, kSumGroup)); }
// Bytes for the groups' sums, [n_sums][groups][m]; none where the only group's sum is the result.
inline size_t program_sum_workspace(const Program& p, int64_t m, int64_t n) {
    const int64_t groups = program_sum_groups(n);
    return p.n_sums && groups > 1 ? size_t(p.n_sums) * groups * m * dtype_size(p.dtype) : 0;
}

template <class T>
inline void program_clear_sums(const Program& p, T* sums, int pitch) {
    for (int i = 0; i < p.n_sums * pitch; i++) sums[i] = T(0);
}

// Stores one group's sums of the tile's rows: to the results if it is the only group, else to the workspace.
template <class T>
inline void program_store_sums(const Program& p, void* const* result, void* workspace, int64_t m, int64_t groups,
                          int64_t group, int64_t row, int rows, const T* sums, int pitch) {
    for (int s = 0; s < p.n_sums; s++) {
        T* to = groups == 1 ? (T*)result[s] : (T*)workspace + (s * groups + group) * m;
        program_store_run(to + row, sums + s * pitch, rows);
    }
}

// Adds the groups' sums in order, for rows begin … end-1.
template <class T>
inline void program_combine_sums(const Program& p, void* const* result, const void* workspace, int64_t m, int64_t groups,
                            int64_t begin, int64_t end) {
    for (int s = 0; s < p.n_sums; s++) {
        const T* parts = (const T*)workspace + s * groups * m;
        T* to = (T*)result[s];
        for (int64_t i = begin; i < end; i += kWidth<T>) {
            const int lanes = int(min64(end - i, kWidth<T>));
            Vec<T> total = load_lanes(parts + i, lanes);
            for (int64_t g = 1; g < groups; g++) total = total + load_lanes(parts + g * m + i, lanes);
            store_lanes(to + i, total, lanes);
        }
    }
}
constexpr int64_t kCombineRows = 4096;  // rows in a chunk of that phase

}  // namespace OWL_ISA
}  // namespace owl
