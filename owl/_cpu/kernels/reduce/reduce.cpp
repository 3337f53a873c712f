// Sums, maxima, minima and positions of both over any set of dimensions of a dense array.
//
// Neighbouring dimensions that are both reduced or both kept are merged first. If dimension 0 is kept, its numbers lie
// in vectors, and the reduced dimensions are a sequence of columns that is added in the order written at kSumGroup. If
// dimension 0 is reduced and long, each run of it is cut into pieces of kReducePiece numbers that are added in lanes, the
// lanes by halving, kReducePieces pieces one after the other, and what results pairwise; if it is short, tiles are transposed
// in registers, so that neighbouring outputs lie in vectors. The number of lanes is the same for all instruction sets,
// so a sum has the same bits on all of them. Where few outputs reduce many numbers, groups of columns or pieces are
// chunks of their own and a second phase combines them; that depends on the shape alone.
#include <stdint.h>
#include <string.h>

#include "_cpu/kernels/kernels.h"
#include "_cpu/kernels/lanes.h"
#include "_cpu/kernels/arithmetic.h"
#include "_cpu/kernels/transpose.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int64_t kChunk = 32768;    // numbers that are worth a chunk
constexpr int kPanelVectors = 8;

template <class T>
constexpr bool kIsNumber = false;  // and not a vector of numbers
template <>
constexpr bool kIsNumber<float> = true;
template <>
constexpr bool kIsNumber<double> = true;

struct Sum {
    template <class T> static T identity() { return T(0); }
    template <class V> static OWL_INLINE V apply(V a, V b) { return a + b; }
};
struct Max {
    template <class T> static T identity() { return -Constants<T>::infinity; }
    template <class V> static OWL_INLINE V apply(V a, V b) {
        if constexpr (kIsNumber<V>) return a >= b || a != a ? a : b;
        else return max(a, b);
    }
};
struct Min {
    template <class T> static T identity() { return Constants<T>::infinity; }
    template <class V> static OWL_INLINE V apply(V a, V b) {
        if constexpr (kIsNumber<V>) return a <= b || a != a ? a : b;
        else return min(a, b);
    }
};

// The product of some dimensions, the first fastest, as a sequence of positions.
struct Walk {
    int ndim = 0;
    int64_t count[kMaxDims], stride[kMaxDims];
    int64_t total = 1;

    void add(int64_t c, int64_t s) {
        count[ndim] = c;
        stride[ndim++] = s;
        total *= c;
    }
    int64_t offset(int64_t i) const {
        int64_t at = 0;
        for (int d = 0; d < ndim; ++d) {
            at += i % count[d] * stride[d];
            i /= count[d];
        }
        return at;
    }
    // How many positions from i on are `step()` apart.
    int64_t run(int64_t i, int64_t end) const { return ndim ? min64(end - i, count[0] - i % count[0]) : end - i; }
    int64_t step() const { return ndim ? stride[0] : 0; }
};

enum class Path { columns, short_runs, long_runs };

struct Plan {
    Path path;
    int64_t rows = 1;      // dimension 0, kept or reduced
    Walk kept, reduced;    // the other dimensions
    int64_t outputs, pieces = 1, groups = 1;
    int64_t items, per_chunk;
    bool split = false;    // groups have chunks of their own; a second phase combines them
};

int64_t panel_rows(DType t) { return kPanelVectors * kVectorBytes / int64_t(dtype_size(t)); }

Plan make_plan(const ReduceArgs& a) {
    Plan p;
    int n = 0;
    int64_t count[kMaxDims], stride[kMaxDims], step = 1;
    bool drop[kMaxDims], nothing = false;
    for (int d = 0; d < a.ndim; ++d) nothing |= (a.axes >> d & 1) && a.shape[d] == 0;
    for (int d = 0; d < a.ndim; ++d) {
        const bool reduced = a.axes >> d & 1;
        if (a.shape[d] != 1) {
            // Where one reduced dimension is empty all are: the others may be too large to go through for nothing.
            const int64_t numbers = nothing && reduced ? 0 : a.shape[d];
            if (n > 0 && drop[n - 1] == reduced) {
                count[n - 1] *= numbers;
            } else {
                count[n] = numbers;
                stride[n] = step;
                drop[n++] = reduced;
            }
        }
        step *= a.shape[d];
    }
    for (int d = 1; d < n; ++d) (drop[d] ? p.reduced : p.kept).add(count[d], stride[d]);
    if (n > 0) p.rows = count[0];
    const int64_t width = kVectorBytes / int64_t(dtype_size(a.dtype));
    int64_t work;
    if (n == 0 || !drop[0]) {
        p.path = Path::columns;
        p.outputs = p.rows * p.kept.total;
        const int64_t panel = min64(p.rows, panel_rows(a.dtype));
        p.groups = is_position(a.op) ? 1 : max64(1, ceil_div(p.reduced.total, kSumGroup));
        p.items = ceil_div(p.rows, panel_rows(a.dtype)) * p.kept.total;
        work = panel * p.reduced.total;
        p.split = p.groups > 1 && p.outputs <= kChunk && p.outputs * p.reduced.total > kChunk;
        if (p.split) {
            p.items *= p.groups;
            work = panel * kSumGroup;
        }
    } else {
        p.outputs = p.kept.total;
        if (p.rows <= kReduceShortRun) {
            p.path = Path::short_runs;
            const int64_t lanes = p.kept.ndim ? p.kept.count[0] : 1;
            p.items = lanes ? ceil_div(lanes, width) * (p.kept.total / lanes) : 0;
            work = width * p.rows * p.reduced.total;
        } else {
            p.path = Path::long_runs;
            p.pieces = ceil_div(p.rows, kReducePiece);
            if (!is_position(a.op)) p.groups = max64(1, ceil_div(p.pieces * p.reduced.total, kReducePieces));
            p.split = p.groups > 1;
            p.items = p.outputs * p.groups;
            work = p.split ? min64(p.rows, kReducePiece) * kReducePieces : p.rows * p.reduced.total;
        }
    }
    if (p.outputs == 0) p.items = 0;
    p.per_chunk = max64(1, kChunk / max64(work, 1));
    return p;
}

template <class T>
inline T scaled(T x, double scale) { return scale == 1 ? x : T(double(x) * scale); }

template <class T>
OWL_INLINE void store_scaled(T* p, Vec<T> v, int n, double scale) {
    T line[kWidth<T>];
    memcpy(line, &v, sizeof v);
    for (int i = 0; i < n; ++i) p[i] = scaled(line[i], scale);
}

// ---------------------------------------------------------------------------------------------- dimension 0 is kept

// Adds columns begin … end-1 to NV vectors of rows, of which the last has `lanes` rows.
template <class T, class Op, int NV, bool Whole>
OWL_INLINE void add_columns(const T* x, const Walk& w, int64_t begin, int64_t end, int lanes, Vec<T>* out) {
    Vec<T> acc[NV];
    for (int v = 0; v < NV; ++v) acc[v] = set1(Op::template identity<T>());
    for (int64_t c = begin; c < end;) {
        const T* p = x + w.offset(c);
        const int64_t run = w.run(c, end), step = w.step();
        for (int64_t i = 0; i < run; ++i, p += step)
            for (int v = 0; v < NV; ++v)
                acc[v] = Op::apply(acc[v], Whole ? load(p + v * kWidth<T>) : load_partial(p, lanes));
        c += run;
    }
    for (int v = 0; v < NV; ++v) out[v] = acc[v];
}

template <class T, class Op, int NV, bool Whole>
void reduce_panel(const T* x, T* y, const Plan& p, int64_t first_group, int64_t end_group, int lanes, double scale) {
    const int64_t n = p.reduced.total;
    Vec<T> total[NV], group[NV];
    add_columns<T, Op, NV, Whole>(x, p.reduced, first_group * kSumGroup, min64(n, (first_group + 1) * kSumGroup), lanes,
                                  total);
    for (int64_t g = first_group + 1; g < end_group; ++g) {
        add_columns<T, Op, NV, Whole>(x, p.reduced, g * kSumGroup, min64(n, (g + 1) * kSumGroup), lanes, group);
        for (int v = 0; v < NV; ++v) total[v] = Op::apply(total[v], group[v]);
    }
    for (int v = 0; v < NV; ++v) store_scaled(y + v * kWidth<T>, total[v], Whole ? kWidth<T> : lanes, scale);
}

template <class T, class Op>
void reduce_columns(const ReduceArgs& a, const Plan& p, int64_t item) {
    const int64_t panel = kPanelVectors * kWidth<T>, panels = ceil_div(p.rows, panel);
    const int64_t first = item % panels * panel, rest = item / panels;
    const int64_t outer = rest % p.kept.total, group = rest / p.kept.total;
    const T* x = static_cast<const T*>(a.x) + p.kept.offset(outer);
    T* y = static_cast<T*>(p.split ? a.workspace : a.y) + (group * p.kept.total + outer) * p.rows;
    const int64_t begin = p.split ? group : 0, end = p.split ? group + 1 : p.groups;
    const double scale = p.split ? 1 : a.scale;
    int64_t i = first;
    const int64_t last = min64(p.rows, first + panel);
    if (last - i == panel) {
        reduce_panel<T, Op, kPanelVectors, true>(x + i, y + i, p, begin, end, 0, scale);
        return;
    }
    for (; last - i >= kWidth<T>; i += kWidth<T>)
        reduce_panel<T, Op, 1, true>(x + i, y + i, p, begin, end, 0, scale);
    if (i < last) reduce_panel<T, Op, 1, false>(x + i, y + i, p, begin, end, int(last - i), scale);
}

// ------------------------------------------------------------------------------------------- dimension 0 is reduced

template <class T, class Op>
T reduce_piece(const T* x, int64_t n) {
    constexpr int L = kReduceLaneBytes / int(sizeof(T)), NV = L / kWidth<T>;
    Vec<T> acc[NV];
    for (int v = 0; v < NV; ++v) acc[v] = set1(Op::template identity<T>());
    int64_t i = 0;
    for (; i + L <= n; i += L)
        for (int v = 0; v < NV; ++v) acc[v] = Op::apply(acc[v], load(x + i + v * kWidth<T>));
    T lanes[L];
    if (i < n) {
        for (int l = 0; l < L; ++l) lanes[l] = Op::template identity<T>();
        memcpy(lanes, x + i, size_t(n - i) * sizeof(T));
        for (int v = 0; v < NV; ++v) acc[v] = Op::apply(acc[v], load(lanes + v * kWidth<T>));
    }
    memcpy(lanes, acc, sizeof lanes);
    for (int half = L / 2; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) lanes[l] = Op::apply(lanes[l], lanes[l + half]);
    return lanes[0];
}

template <class T, class Op>
void reduce_long(const ReduceArgs& a, const Plan& p, int64_t item) {
    const int64_t output = item / p.groups, group = item % p.groups;
    const T* x = static_cast<const T*>(a.x) + p.kept.offset(output);
    const int64_t end = min64(p.pieces * p.reduced.total, (group + 1) * kReducePieces);
    T total = Op::template identity<T>();
    for (int64_t i = group * kReducePieces; i < end; ++i) {
        const int64_t first = i % p.pieces * kReducePiece;
        const T* run = x + p.reduced.offset(i / p.pieces) + first;
        total = Op::apply(total, reduce_piece<T, Op>(run, min64(kReducePiece, p.rows - first)));
    }
    if (p.split) static_cast<T*>(a.workspace)[item] = total;
    else static_cast<T*>(a.y)[output] = scaled(total, a.scale);
}

// Calls f(r, v) for the rows r of a short run, v holding number r of `lanes` neighbouring runs.
template <class T, class F>
OWL_INLINE void for_rows(const T* x, int64_t stride, int64_t rows, int lanes, F f) {
    constexpr int N = kWidth<T>;
    for (int64_t r = 0; r < rows; r += N) {
        const int n = int(min64(N, rows - r));
        Tile<T> tile;
        tile.load_rows(x + r, stride, lanes, n);
        tile.transpose();
        for (int i = 0; i < n; ++i) f(r + i, tile.row[i]);
    }
}

// Which neighbouring outputs an item of short runs makes.
struct Neighbours {
    int64_t output, stride;
    int lanes;
};
Neighbours neighbours(const Plan& p, int64_t item, int width) {
    if (p.kept.ndim == 0) return {0, 0, 1};
    const int64_t blocks = ceil_div(p.kept.count[0], width), first = item % blocks * width;
    return {item / blocks * p.kept.count[0] + first, p.kept.stride[0], int(min64(width, p.kept.count[0] - first))};
}

template <class T, class Op>
void reduce_short(const ReduceArgs& a, const Plan& p, int64_t item) {
    const Neighbours at = neighbours(p, item, kWidth<T>);
    const T* x = static_cast<const T*>(a.x) + p.kept.offset(at.output);
    Vec<T> total = set1(Op::template identity<T>());
    for (int64_t g = 0; g < p.reduced.total; g += kSumGroup) {
        Vec<T> group = set1(Op::template identity<T>());
        for (int64_t i = g; i < min64(p.reduced.total, g + kSumGroup); ++i) {
            Vec<T> run = set1(Op::template identity<T>());
            for_rows(x + p.reduced.offset(i), at.stride, p.rows, at.lanes,
                     [&](int64_t, Vec<T> v) { run = Op::apply(run, v); });
            group = Op::apply(group, run);
        }
        total = Op::apply(total, group);
    }
    store_scaled(static_cast<T*>(a.y) + at.output, total, at.lanes, a.scale);
}

// ----------------------------------------------------------------------------------------------------------- argmax

// The smallest of numbers is the largest of their opposites.
template <bool Smallest, class V>
OWL_INLINE V compared(V x) { return Smallest ? -x : x; }

template <class T>
struct Best {
    Vec<T> value = set1(-Constants<T>::infinity), position = Vec<T>{};

    OWL_INLINE void see(Vec<T> x, Vec<T> at) {
        const auto better = mask_or(gt(x, value), mask_and(is_nan(x), mask_not(is_nan(value))));
        value = select(better, x, value);
        position = select(better, at, position);
    }
};

template <class T, bool Smallest>
void argmax_columns(const ReduceArgs& a, const Plan& p, int64_t item) {
    const int64_t panel = kPanelVectors * kWidth<T>, panels = ceil_div(p.rows, panel);
    const int64_t first = item % panels * panel, outer = item / panels;
    const T* x = static_cast<const T*>(a.x) + p.kept.offset(outer);
    for (int64_t i = first; i < min64(p.rows, first + panel); i += kWidth<T>) {
        const int lanes = int(min64(kWidth<T>, p.rows - i));
        Best<T> best;
        for (int64_t c = 0; c < p.reduced.total; ++c)
            best.see(compared<Smallest>(load_lanes(x + i + c * p.reduced.step(), lanes)), set1(T(c)));
        store_scaled(static_cast<T*>(a.y) + outer * p.rows + i, best.position, lanes, 1);
    }
}

template <class T, bool Smallest>
void argmax_short(const ReduceArgs& a, const Plan& p, int64_t item) {
    const Neighbours at = neighbours(p, item, kWidth<T>);
    Best<T> best;
    for_rows(static_cast<const T*>(a.x) + p.kept.offset(at.output), at.stride, p.rows, at.lanes,
             [&](int64_t r, Vec<T> v) { best.see(compared<Smallest>(v), set1(T(r))); });
    store_scaled(static_cast<T*>(a.y) + at.output, best.position, at.lanes, 1);
}

template <class T, bool Smallest>
void argmax_long(const ReduceArgs& a, const Plan& p, int64_t output) {
    const T* x = static_cast<const T*>(a.x) + p.kept.offset(output);
    constexpr int W = kWidth<T>;
    T lane[W], value[W];
    for (int l = 0; l < W; ++l) lane[l] = T(l);
    Best<T> best;
    int64_t i = 0;
    for (; i + W <= p.rows; i += W) best.see(compared<Smallest>(load(x + i)), load(lane) + T(i));
    if (i < p.rows) {
        for (int l = 0; l < W; ++l) value[l] = i + l < p.rows ? compared<Smallest>(x[i + l]) : -Constants<T>::infinity;
        best.see(load(value), load(lane) + T(i));
    }
    store(value, best.value);
    store(lane, best.position);
    int b = 0;
    for (int l = 1; l < W; ++l) {
        const bool nan = value[l] != value[l], best_nan = value[b] != value[b];
        const bool same = nan ? best_nan : value[l] == value[b];
        if (same ? lane[l] < lane[b] : !best_nan && (nan || value[l] > value[b])) b = l;
    }
    static_cast<T*>(a.y)[output] = lane[b];
}

// -------------------------------------------------------------------------------------------------------- the kernel

template <class T, class Op>
T combine_pairwise(const T* x, int64_t n) {
    if (n <= 8) {
        T total = x[0];
        for (int64_t i = 1; i < n; ++i) total = Op::apply(total, x[i]);
        return total;
    }
    return Op::apply(combine_pairwise<T, Op>(x, n / 2), combine_pairwise<T, Op>(x + n / 2, n - n / 2));
}

// The second phase: the groups of each of the outputs begin … end-1.
template <class T, class Op>
void combine(const ReduceArgs& a, const Plan& p, int64_t begin, int64_t end) {
    const T* part = static_cast<const T*>(a.workspace);
    T* y = static_cast<T*>(a.y);
    for (int64_t o = begin; o < end; ++o) {
        T total;
        if (p.path == Path::columns) {
            total = part[o];
            for (int64_t g = 1; g < p.groups; ++g) total = Op::apply(total, part[g * p.outputs + o]);
        } else {
            total = combine_pairwise<T, Op>(part + o * p.groups, p.groups);
        }
        y[o] = scaled(total, a.scale);
    }
}

int64_t outputs_per_chunk(const Plan& p) { return max64(1, kChunk / p.groups); }

template <class T, class Op>
void run_items(const ReduceArgs& a, const Plan& p, int phase, int64_t begin, int64_t end) {
    if (phase == 1) {
        combine<T, Op>(a, p, begin * outputs_per_chunk(p), min64(p.outputs, end * outputs_per_chunk(p)));
        return;
    }
    for (int64_t i = begin * p.per_chunk; i < min64(p.items, end * p.per_chunk); ++i) {
        if (p.path == Path::columns) reduce_columns<T, Op>(a, p, i);
        else if (p.path == Path::short_runs) reduce_short<T, Op>(a, p, i);
        else reduce_long<T, Op>(a, p, i);
    }
}

template <class T, bool Smallest>
void run_argmax(const ReduceArgs& a, const Plan& p, int64_t begin, int64_t end) {
    for (int64_t i = begin * p.per_chunk; i < min64(p.items, end * p.per_chunk); ++i) {
        if (p.path == Path::columns) argmax_columns<T, Smallest>(a, p, i);
        else if (p.path == Path::short_runs) argmax_short<T, Smallest>(a, p, i);
        else argmax_long<T, Smallest>(a, p, i);
    }
}

template <class T>
void run_typed(const ReduceArgs& a, int phase, int64_t begin, int64_t end) {
    const Plan p = make_plan(a);
    switch (a.op) {
        case Reduction::sum: return run_items<T, Sum>(a, p, phase, begin, end);
        case Reduction::max: return run_items<T, Max>(a, p, phase, begin, end);
        case Reduction::min: return run_items<T, Min>(a, p, phase, begin, end);
        case Reduction::argmax: return run_argmax<T, false>(a, p, begin, end);
        case Reduction::argmin: return run_argmax<T, true>(a, p, begin, end);
    }
}

int phases(const void* args) { return make_plan(*static_cast<const ReduceArgs*>(args)).split ? 2 : 1; }

int64_t chunks(const void* args, int phase) {
    const Plan p = make_plan(*static_cast<const ReduceArgs*>(args));
    return phase == 0 ? ceil_div(p.items, p.per_chunk) : ceil_div(p.outputs, outputs_per_chunk(p));
}

void run(const void* args, int phase, int64_t begin, int64_t end, void*) {
    const ReduceArgs& a = *static_cast<const ReduceArgs*>(args);
    if (a.dtype == DType::f32) run_typed<float>(a, phase, begin, end);
    else run_typed<double>(a, phase, begin, end);
}

size_t no_scratch(const void*) { return 0; }

size_t workspace(const void* args) {
    const ReduceArgs& a = *static_cast<const ReduceArgs*>(args);
    const Plan p = make_plan(a);
    return p.split ? size_t(p.outputs * p.groups) * dtype_size(a.dtype) : 0;
}

}  // namespace

extern const Kernel reduce_kernel = {"reduce", phases, chunks, run, no_scratch, workspace};

}  // namespace OWL_ISA
}  // namespace owl
