// Sums, maxima, minima and positions of both over any set of dimensions of a dense array, in the CPU's order of additions.
//
// Short runs: a thread has an output, and goes through its runs of adjacent numbers in groups of kSumGroup. Where dimension 0
// is kept, a run is one number, and neighboring threads read neighboring numbers. Where outputs are few and groups many, a
// thread has a group, and a second launch adds the groups. Long runs: lanes of a block add pieces of kReducePiece numbers;
// kReducePieces of them are a group, and a second launch adds the groups by halves.
#include "args.h"
#include "indices.cuh"
#include "simt.cuh"

namespace owl {
namespace cuda {

template <class T>
OWL_DEVICE T infinity() {
    if constexpr (sizeof(T) == 4) return __builtin_inff();
    else return __builtin_inf();
}

struct Sum {
    template <class T> static OWL_DEVICE T identity() { return T(0); }
    template <class T> static OWL_DEVICE T apply(T x, T y) { return x + y; }
};
struct Max {
    template <class T> static OWL_DEVICE T identity() { return -infinity<T>(); }
    template <class T> static OWL_DEVICE T apply(T x, T y) { return x >= y || x != x ? x : y; }
};
struct Min {
    template <class T> static OWL_DEVICE T identity() { return infinity<T>(); }
    template <class T> static OWL_DEVICE T apply(T x, T y) { return x <= y || x != x ? x : y; }
};

template <class T>
OWL_DEVICE T scaled(T x, double scale) {
    return scale == 1 ? x : static_cast<T>(static_cast<double>(x) * scale);
}

OWL_DEVICE int64_t position(const ReduceWalk& walk, int64_t i) {
    int64_t at = 0;
    int last = 0;
    for (; last + 1 < walk.ndim; ++last) at += take_digit(i, walk.count[last]) * walk.stride[last];
    return at + i * walk.stride[last];
}

// ------------------------------------------------------------------------------------------------------------ short runs

template <class T, class Op>
OWL_DEVICE T reduce_group(const ReduceLaunch& a, const T* x, int64_t group) {
    const int64_t end = smaller(a.reduced.total, (group + 1) * kSumGroup), step = a.reduced.stride[0];
    T sum = Op::template identity<T>();
    for (int64_t i = group * kSumGroup; i < end;) {
        const T* at = x + position(a.reduced, i);
        const int64_t stop = a.reduced.ndim > 1 ? smaller(end, i + a.reduced.count[0] - i % a.reduced.count[0]) : end;
        if (a.run == 1) {
            for (; i < stop; ++i, at += step) sum = Op::apply(sum, *at);
        } else {
            for (; i < stop; ++i, at += step) {
                T run = *at;
                for (int64_t k = 1; k < a.run; ++k) run = Op::apply(run, at[k]);
                sum = Op::apply(sum, run);
            }
        }
    }
    return sum;
}

template <class T, class Op>
OWL_DEVICE void reduce_lines(const ReduceLaunch& a) {
    OWL_THREADS(t) {
        const int64_t items = a.kept.total * (a.part ? a.groups : 1), step = OWL_BLOCKS() * kReduceThreads;
        for (int64_t item = OWL_BLOCK() * kReduceThreads + t; item < items; item += step) {
            int64_t group_of_item = item;
            const int64_t output = a.part ? take_digit(group_of_item, a.kept.total) : item;
            const T* x = static_cast<const T*>(a.x) + position(a.kept, output);
            if (a.part) {
                static_cast<T*>(a.part)[item] = reduce_group<T, Op>(a, x, group_of_item);
            } else {
                T total = reduce_group<T, Op>(a, x, 0);
                for (int64_t group = 1; group < a.groups; ++group) total = Op::apply(total, reduce_group<T, Op>(a, x, group));
                static_cast<T*>(a.y)[output] = scaled(total, a.scale);
            }
        }
    }
}

// The groups' results in order.
template <class T, class Op>
OWL_DEVICE void reduce_groups(const ReduceLaunch& a) {
    OWL_THREADS(t) {
        const int64_t step = OWL_BLOCKS() * kReduceThreads;
        for (int64_t output = OWL_BLOCK() * kReduceThreads + t; output < a.kept.total; output += step) {
            const T* part = static_cast<const T*>(a.part) + output;
            T total = part[0];
            for (int64_t group = 1; group < a.groups; ++group) total = Op::apply(total, part[group * a.kept.total]);
            static_cast<T*>(a.y)[output] = scaled(total, a.scale);
        }
    }
}

// ------------------------------------------------------------------------------------------------------------- long runs

template <class T>
constexpr int kReduceLanes = kReduceLaneBytes / sizeof(T);

// Where an output is one group of few pieces, a block has several outputs.
template <class T, class Op, class Lanes>
OWL_DEVICE void reduce_pieces(const ReduceLaunch& a, Lanes& lanes) {
    constexpr int kLanes = kReduceLanes<T>;
    const int64_t pieces = a.pieces * a.reduced.total, units = a.kept.total * a.groups;  // a unit: a group of an output
    const int in_unit = a.groups > 1 ? kReducePieces : static_cast<int>(pieces), in_block = kReducePieces / in_unit;
    for (int64_t first = OWL_BLOCK() * in_block; first < units; first += OWL_BLOCKS() * in_block) {
        OWL_THREADS(t) {
            const int lane = t % kLanes;
            for (int slot = t / kLanes; slot < kReducePieces; slot += kReduceThreads / kLanes) {
                const int64_t unit = first + slot / in_unit, piece = unit % a.groups * kReducePieces + slot % in_unit;
                T sum = Op::template identity<T>();
                if (slot < in_block * in_unit && unit < units && piece < pieces) {
                    const int64_t begin = piece % a.pieces * kReducePiece, end = smaller(a.run, begin + kReducePiece);
                    const T* x = static_cast<const T*>(a.x) + position(a.kept, unit / a.groups) +
                                 position(a.reduced, piece / a.pieces);
                    for (int64_t i = begin + lane; i < end; i += kLanes) sum = Op::apply(sum, x[i]);
                }
                lanes[slot * kLanes + lane] = sum;
            }
        }
        OWL_BARRIER();
        for (int half = kLanes / 2; half > 0; half /= 2) {
            OWL_THREADS(t) {
                for (int k = t; k < kReducePieces * half; k += kReduceThreads) {
                    const int at = k / half * kLanes + k % half;
                    lanes[at] = Op::apply(static_cast<T>(lanes[at]), static_cast<T>(lanes[at + half]));
                }
            }
            OWL_BARRIER();
        }
        OWL_THREADS(t) {
            const int64_t unit = first + t;
            if (t < in_block && unit < units) {
                T total = Op::template identity<T>();
                for (int k = 0; k < in_unit; ++k) total = Op::apply(total, static_cast<T>(lanes[(t * in_unit + k) * kLanes]));
                if (a.part) static_cast<T*>(a.part)[unit] = total;
                else static_cast<T*>(a.y)[unit] = scaled(total, a.scale);
            }
        }
        OWL_BARRIER();
    }
}

// A block has an output. Its groups are halved until a part has kReducePair at most; these are added in order, and then the
// parts two by two. A part's result is kept in the place of its first group.
template <class T, class Op>
OWL_DEVICE void reduce_pairs(const ReduceLaunch& a) {
    int deepest = 0;
    while ((a.groups - 1) >> deepest >= kReducePair) ++deepest;
    for (int64_t output = OWL_BLOCK(); output < a.kept.total; output += OWL_BLOCKS()) {
        T* part = static_cast<T*>(a.part) + output * a.groups;
        for (int depth = deepest; depth >= 0; --depth) {
            OWL_THREADS(t) {
                for (int64_t k = t; k < int64_t{1} << depth; k += kReduceThreads) {
                    int64_t begin = 0, size = a.groups;
                    int bit = depth - 1;
                    for (; bit >= 0 && size > kReducePair; --bit) {
                        const int64_t half = size / 2;
                        if (k >> bit & 1) begin += half;
                        size = k >> bit & 1 ? size - half : half;
                    }
                    if (bit >= 0) continue;  // the part was not halved so often
                    T total = part[begin];
                    const int64_t next = size > kReducePair ? size / 2 : 1, end = size > kReducePair ? next + 1 : size;
                    for (int64_t i = next; i < end; ++i) total = Op::apply(total, part[begin + i]);
                    part[begin] = total;
                    if (depth == 0) static_cast<T*>(a.y)[output] = scaled(total, a.scale);
                }
            }
            OWL_BARRIER();
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------- argmax

template <class T>
OWL_DEVICE bool is_better(T x, T than) { return x > than || (x != x && than == than); }

// As it is compared: the smallest of numbers is the largest of their opposites.
template <class T>
OWL_DEVICE T compared(const ReduceLaunch& a, T x) { return a.op == Reduction::argmin ? -x : x; }

// One dimension is reduced: it has runs of one number, or it is a run.
template <class T>
OWL_DEVICE void argmax_lines(const ReduceLaunch& a) {
    const int64_t length = a.run == 1 ? a.reduced.total : a.run, stride = a.run == 1 ? a.reduced.stride[0] : 1;
    OWL_THREADS(t) {
        const int64_t step = OWL_BLOCKS() * kReduceThreads;
        for (int64_t output = OWL_BLOCK() * kReduceThreads + t; output < a.kept.total; output += step) {
            const T* x = static_cast<const T*>(a.x) + position(a.kept, output);
            T best = -infinity<T>();
            int64_t place = 0;
            for (int64_t i = 0; i < length; ++i) {
                const T number = compared(a, x[i * stride]);
                if (!is_better(number, best)) continue;
                best = number;
                place = i;
            }
            static_cast<T*>(a.y)[output] = static_cast<T>(place);
        }
    }
}

// A block has an output.
template <class T>
OWL_DEVICE void argmax_long(const ReduceLaunch& a) {
    OWL_SHARED(T, best, kReduceThreads);
    OWL_SHARED(int64_t, place, kReduceThreads);
    for (int64_t output = OWL_BLOCK(); output < a.kept.total; output += OWL_BLOCKS()) {
        const T* x = static_cast<const T*>(a.x) + position(a.kept, output);
        OWL_THREADS(t) {
            T mine = -infinity<T>();
            int64_t found = 0;
            for (int64_t i = t; i < a.run; i += kReduceThreads) {
                const T number = compared(a, x[i]);
                if (!is_better(number, mine)) continue;
                mine = number;
                found = i;
            }
            best[t] = mine;
            place[t] = found;
        }
        OWL_BARRIER();
        for (int half = kReduceThreads / 2; half > 0; half /= 2) {
            OWL_THREADS(t) {
                if (t < half) {
                    const T mine = best[t], other = best[t + half];
                    const bool earlier = place[t + half] < place[t];
                    if (is_better(other, mine) || (earlier && !is_better(mine, other))) {
                        best[t] = other;
                        place[t] = static_cast<int64_t>(place[t + half]);
                    }
                }
            }
            OWL_BARRIER();
        }
        OWL_THREADS(t) if (t == 0) static_cast<T*>(a.y)[output] = static_cast<T>(static_cast<int64_t>(place[0]));
        OWL_BARRIER();
    }
}

}  // namespace cuda
}  // namespace owl

#define OWL_BY_REDUCTION(run, T, ...)                                                     \
    switch (a.op) {                                                                       \
        case owl::Reduction::sum: owl::cuda::run<T, owl::cuda::Sum>(__VA_ARGS__); break;  \
        case owl::Reduction::max: owl::cuda::run<T, owl::cuda::Max>(__VA_ARGS__); break;  \
        case owl::Reduction::min: owl::cuda::run<T, owl::cuda::Min>(__VA_ARGS__); break;  \
        default: break; /* positions have kernels of their own */                         \
    }
#define OWL_REDUCE(T, type)                                                                              \
    OWL_KERNEL(reduce_lines_##type, owl::cuda::ReduceLaunch) { OWL_BY_REDUCTION(reduce_lines, T, a) }    \
    OWL_KERNEL(reduce_groups_##type, owl::cuda::ReduceLaunch) { OWL_BY_REDUCTION(reduce_groups, T, a) }  \
    OWL_KERNEL(reduce_pieces_##type, owl::cuda::ReduceLaunch) {                                          \
        OWL_SHARED(T, lanes, owl::kReducePieces * owl::cuda::kReduceLanes<T>);                           \
        OWL_BY_REDUCTION(reduce_pieces, T, a, lanes)                                                     \
    }                                                                                                    \
    OWL_KERNEL(reduce_pairs_##type, owl::cuda::ReduceLaunch) { OWL_BY_REDUCTION(reduce_pairs, T, a) }    \
    OWL_KERNEL(argmax_lines_##type, owl::cuda::ReduceLaunch) { owl::cuda::argmax_lines<T>(a); }          \
    OWL_KERNEL(argmax_long_##type, owl::cuda::ReduceLaunch) { owl::cuda::argmax_long<T>(a); }
OWL_REDUCE(float, f32)
OWL_REDUCE(double, f64)
#undef OWL_REDUCE
#undef OWL_BY_REDUCTION
