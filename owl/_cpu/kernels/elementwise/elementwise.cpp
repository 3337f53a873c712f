// Element-wise programs over whole arrays.
//
// Without sums the outputs' elements are one line, cut into chunks; inputs that are dense are read where they lie, the
// others are gathered into the block. With sums the space is [m, n], and a chunk is a tile of rows times one group of
// columns, so that a group's sum is made in one place and in one order.
#include "interpreter.h"
#include "_cpu/kernels/registry.h"

namespace owl {
namespace OWL_ISA {
const int vector_bytes = kVectorBytes;

namespace {

constexpr int64_t kChunk = 8192;  // elements: 32 KB of float32 for each input and output
constexpr int64_t kTileRows = 64;

int64_t size_of(const ElementwiseArgs& a) {
    int64_t n = 1;
    for (int d = 0; d < a.ndim; d++) n *= a.shape[d];
    return n;
}

// ------------------------------------------------------------------------------------------------------- without sums

// The space with dimensions of 1 dropped and neighbours merged that every input walks through in one stride.
struct Space {
    int ndim = 0;
    int64_t shape[kMaxDims];
    int64_t stride[kMaxProgramInputs][kMaxDims];

    explicit Space(const ElementwiseArgs& a) {
        const int inputs = a.program->n_inputs;
        for (int d = 0; d < a.ndim; d++) {
            if (a.shape[d] == 1) continue;
            bool merge = ndim > 0;
            for (int r = 0; r < inputs && merge; r++)
                merge = a.input[r].stride[d] == stride[r][ndim - 1] * shape[ndim - 1];
            if (merge) {
                shape[ndim - 1] *= a.shape[d];
                continue;
            }
            shape[ndim] = a.shape[d];
            for (int r = 0; r < inputs; r++) stride[r][ndim] = a.input[r].stride[d];
            ndim++;
        }
        if (ndim == 0) {
            ndim = 1;
            shape[0] = 1;
            for (int r = 0; r < inputs; r++) stride[r][0] = 1;
        }
    }
    bool dense(int r) const {
        int64_t expected = 1;
        for (int d = 0; d < ndim; d++) {
            if (stride[r][d] != expected) return false;
            expected *= shape[d];
        }
        return true;
    }
};

// Elements at … at+n-1 of the space, in order.
template <class T, class From>
void gather(T* dst, const From* src, const Space& space, const int64_t* stride, int64_t at, int n) {
    int64_t index[kMaxDims], offset = 0;
    for (int d = 0; d < space.ndim; d++) {
        index[d] = at % space.shape[d];
        at /= space.shape[d];
        offset += index[d] * stride[d];
    }
    for (int done = 0; done < n;) {
        const int run = int(min64(n - done, space.shape[0] - index[0]));
        program_gather_run(dst + done, src + offset, stride[0], run);
        done += run;
        offset -= index[0] * stride[0];
        index[0] = 0;
        for (int d = 1; d < space.ndim; d++) {
            offset += stride[d];
            if (++index[d] < space.shape[d]) break;
            offset -= index[d] * stride[d];
            index[d] = 0;
        }
    }
}

template <class T>
bool same_type(const StridedArray& x) { return dtype_size(x.dtype) == sizeof(T); }

template <class T>
void run_line(const ElementwiseArgs& a, int64_t begin, int64_t end, void* scratch) {
    const Program& p = *a.program;
    const Space space(a);
    Interpreter<T> block(p, a.scalars, scratch);
    bool in_place[kMaxProgramInputs];
    for (int r = 0; r < p.n_inputs; r++) in_place[r] = same_type<T>(a.input[r]) && space.dense(r);
    for (int k = 0; k < p.n_outputs; k++) {
        if (!same_type<T>(a.output[k])) continue;
        bool shared = false;
        for (int r = 0; r < p.n_inputs; r++) shared |= a.input[r].data == a.output[k].data;
        block.allow_direct(k, shared);
    }
    for (int64_t at = begin; at < end;) {
        // Whole vectors first; what is left over goes through padded registers.
        int n = int(min64(end - at, kProgramBlock));
        const bool whole = n >= kWidth<T>;
        if (whole) n -= n % kWidth<T>;
        for (int r = 0; r < p.n_inputs; r++) {
            const StridedArray& x = a.input[r];
            if (in_place[r] && whole) {
                block.read_at(r, (const T*)x.data + at);
                continue;
            }
            if (x.dtype == DType::f32) gather(block.own(r), (const float*)x.data, space, space.stride[r], at, n);
            else gather(block.own(r), (const double*)x.data, space, space.stride[r], at, n);
            block.keep(r);
        }
        for (int k = 0; k < p.n_outputs; k++)
            block.write_at(k, whole && same_type<T>(a.output[k]) ? (T*)a.output[k].data + at : nullptr);
        block.run(whole ? n : kWidth<T>);
        for (int k = 0; k < p.n_outputs; k++) {
            const T* value = block.value(p.output_register[k]);
            if (a.output[k].dtype == DType::f32) {
                float* y = (float*)a.output[k].data + at;
                if ((const void*)y != value) program_store_run(y, value, n);
            } else {
                double* y = (double*)a.output[k].data + at;
                if ((const void*)y != value) program_store_run(y, value, n);
            }
        }
        at += n;
    }
}

// ---------------------------------------------------------------------------------------------------------- with sums

int64_t rows_of(const ElementwiseArgs& a) { return a.ndim > 0 ? a.shape[0] : 1; }
int64_t columns_of(const ElementwiseArgs& a) { return a.ndim > 1 ? a.shape[1] : 1; }

template <class T>
void run_tiles(const ElementwiseArgs& a, int64_t begin, int64_t end, void* scratch) {
    const Program& p = *a.program;
    const int64_t m = rows_of(a), n = columns_of(a), groups = program_sum_groups(n), row_tiles = ceil_div(m, kTileRows);
    Interpreter<T> block(p, a.scalars, scratch);
    T* sums = (T*)((char*)scratch + Interpreter<T>::bytes(p));
    for (int64_t chunk = begin; chunk < end; chunk++) {
        ProgramTile t;
        const int64_t group = chunk / row_tiles;
        t.row = chunk % row_tiles * kTileRows;
        t.rows = int(min64(m - t.row, kTileRows));
        t.pitch = int(ceil_div(t.rows, kWidth<T>) * kWidth<T>);
        program_clear_sums(p, sums, t.pitch);
        const int64_t last = min64(n, (group + 1) * kSumGroup);
        for (t.column = group * kSumGroup; t.column < last; t.column += t.columns) {
            t.columns = int(min64(last - t.column, kProgramBlock / t.pitch));
            program_run_tile(block, p, a.input, 0, a.output, m, t, sums);
        }
        program_store_sums(p, a.sum, a.workspace, m, groups, group, t.row, t.rows, sums, t.pitch);
    }
}

// ------------------------------------------------------------------------------------------------------------- kernel

int phases(const void* args) {
    const ElementwiseArgs& a = *(const ElementwiseArgs*)args;
    return a.program->n_sums && program_sum_groups(columns_of(a)) > 1 ? 2 : 1;
}

int64_t chunks(const void* args, int phase) {
    const ElementwiseArgs& a = *(const ElementwiseArgs*)args;
    if (phase == 1) return ceil_div(rows_of(a), kCombineRows);
    if (a.program->n_sums) return ceil_div(rows_of(a), kTileRows) * program_sum_groups(columns_of(a));
    return ceil_div(size_of(a), kChunk);
}

template <class T>
void run_as(const ElementwiseArgs& a, int phase, int64_t begin, int64_t end, void* scratch) {
    const int64_t m = rows_of(a);
    if (phase == 1)
        program_combine_sums<T>(*a.program, a.sum, a.workspace, m, program_sum_groups(columns_of(a)), begin * kCombineRows,
                           min64(end * kCombineRows, m));
    else if (a.program->n_sums) run_tiles<T>(a, begin, end, scratch);
    else run_line<T>(a, begin * kChunk, min64(end * kChunk, size_of(a)), scratch);
}

void run(const void* args, int phase, int64_t begin, int64_t end, void* scratch) {
    const ElementwiseArgs& a = *(const ElementwiseArgs*)args;
    if (a.program->dtype == DType::f32) run_as<float>(a, phase, begin, end, scratch);
    else run_as<double>(a, phase, begin, end, scratch);
}

size_t scratch(const void* args) {
    const Program& p = *((const ElementwiseArgs*)args)->program;
    const size_t block = p.dtype == DType::f32 ? Interpreter<float>::bytes(p) : Interpreter<double>::bytes(p);
    return block + p.n_sums * kTileRows * dtype_size(p.dtype);
}

size_t workspace(const void* args) {
    const ElementwiseArgs& a = *(const ElementwiseArgs*)args;
    return program_sum_workspace(*a.program, rows_of(a), columns_of(a));
}

}  // namespace

const Kernel elementwise_kernel = {"elementwise", phases, chunks, run, scratch, workspace};

}  // namespace OWL_ISA
}  // namespace owl
