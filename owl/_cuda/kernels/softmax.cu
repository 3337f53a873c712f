// Softmax, its logarithm, and the cross entropy with its gradient, along the middle dimension of a dense
// [inner, length, outer].
//
// A line has one inner and one outer position. A thread has a line; a long line of adjacent numbers has lanes of a block, as
// many as on a CPU, whose sums are added by halves. Exponentials are computed anew where they are needed again.
#define OWL_ISA cuda
#define OWL_SCALARS 1
#include "_cpu/kernels/reduce/grouped_sum.h"
#include "args.h"
#include "indices.cuh"

namespace owl {
namespace cuda {

// The result for one number. `sum` is the exponentials', or its logarithm where that is wanted.
template <SoftmaxKind K, class T>
OWL_DEVICE T outcome(const T* x, const T* label, int64_t at, T top, T sum) {
    if constexpr (K == SoftmaxKind::plain) return exp(x[at] - top) / sum;
    else if constexpr (K == SoftmaxKind::difference) return exp(x[at] - top) / sum - label[at];
    else if constexpr (K == SoftmaxKind::loss) return cost<T>(label[at], (x[at] - top) - sum);
    else return (x[at] - top) - sum;
}
template <SoftmaxKind K, class T>
OWL_DEVICE T logarithm_where_wanted(T sum) {
    if constexpr (K == SoftmaxKind::logarithm || K == SoftmaxKind::loss) return log(sum);
    else return sum;
}

template <class T, SoftmaxKind K>
OWL_DEVICE void run_line(const SoftmaxLaunch& a, int64_t line) {
    int64_t outer = line;
    const int64_t inner = take_digit(outer, a.inner), first = inner + outer * a.length * a.inner, step = a.inner;
    const int64_t end = first + a.length * step;
    const T* x = static_cast<const T*>(a.x);
    const T* label = static_cast<const T*>(a.label);
    T top = x[first];
    for (int64_t at = first + step; at < end; at += step) top = max(top, x[at]);
    GroupedSum<T> powers;
    for (int64_t at = first; at < end; at += step) powers.add(exp(x[at] - top));
    const T sum = logarithm_where_wanted<K>(powers.result());
    GroupedSum<T> loss;
    for (int64_t at = first; at < end; at += step) {
        const T y = outcome<K>(x, label, at, top, sum);
        if constexpr (K == SoftmaxKind::loss) loss.add(y);
        else static_cast<T*>(a.y)[at] = y;
    }
    if constexpr (K == SoftmaxKind::loss) static_cast<T*>(a.y)[line] = loss.result();
}

template <class T, SoftmaxKind K>
OWL_DEVICE void run_lines(const SoftmaxLaunch& a) {
    OWL_THREADS(t) {
        const int64_t lines = a.inner * a.outer, step = OWL_BLOCKS() * kSoftmaxThreads;
        for (int64_t line = OWL_BLOCK() * kSoftmaxThreads + t; line < lines; line += step) run_line<T, K>(a, line);
    }
}

// ------------------------------------------------------------------------------------------------------------ long lines

template <class T>
constexpr int kSoftmaxLanes = kSoftmaxLaneBytes / sizeof(T);

struct Add {
    template <class T>
    OWL_INLINE T operator()(T x, T y) const { return x + y; }
};
struct Larger {
    template <class T>
    OWL_INLINE T operator()(T x, T y) const { return max(x, y); }
};

// Leaves each line's result in the first of its lanes.
template <class T, class Op, class Lanes>
OWL_DEVICE void halve(Lanes& lanes, Op op) {
    for (int half = kSoftmaxLanes<T> / 2; half > 0; half /= 2) {
        OWL_THREADS(t) {
            if (t % kSoftmaxLanes<T> < half) lanes[t] = op(static_cast<T>(lanes[t]), static_cast<T>(lanes[t + half]));
        }
        OWL_BARRIER();
    }
}

// A block has a line for each kSoftmaxLanes of its threads.
template <class T, SoftmaxKind K, class Lanes>
OWL_DEVICE void run_long(const SoftmaxLaunch& a, Lanes& tops, Lanes& sums, Lanes& losses) {
    constexpr int kLanes = kSoftmaxLanes<T>, kLines = kSoftmaxThreads / kLanes;
    const T* x = static_cast<const T*>(a.x);
    const T* label = static_cast<const T*>(a.label);
    for (int64_t line = OWL_BLOCK() * kLines; line < a.outer; line += OWL_BLOCKS() * kLines) {
        const int64_t first = line * a.length;
        const int64_t lines = a.outer - line < kLines ? a.outer - line : kLines;
        // The numbers of thread t's lane.
        const auto each = [&](int t, auto visit) {
            if (t / kLanes >= lines) return;
            const int64_t begin = first + t / kLanes * a.length;
            for (int64_t at = begin + t % kLanes; at < begin + a.length; at += kLanes) visit(at);
        };
        OWL_THREADS(t) {
            T top = -Constants<T>::infinity;
            each(t, [&](int64_t at) { top = max(top, x[at]); });
            tops[t] = top;
        }
        OWL_BARRIER();
        halve<T>(tops, Larger());
        OWL_THREADS(t) {
            const T top = tops[t / kLanes * kLanes];
            GroupedSum<T> powers;
            each(t, [&](int64_t at) { powers.add(exp(x[at] - top)); });
            sums[t] = powers.result();
        }
        OWL_BARRIER();
        halve<T>(sums, Add());
        OWL_THREADS(t) {
            const T top = tops[t / kLanes * kLanes];
            const T sum = logarithm_where_wanted<K, T>(sums[t / kLanes * kLanes]);
            GroupedSum<T> loss;
            each(t, [&](int64_t at) {
                const T y = outcome<K>(x, label, at, top, sum);
                if constexpr (K == SoftmaxKind::loss) loss.add(y);
                else static_cast<T*>(a.y)[at] = y;
            });
            if constexpr (K == SoftmaxKind::loss) losses[t] = loss.result();
        }
        OWL_BARRIER();
        if constexpr (K == SoftmaxKind::loss) {
            halve<T>(losses, Add());
            OWL_THREADS(t) {
                if (t % kLanes == 0 && t / kLanes < lines) static_cast<T*>(a.y)[line + t / kLanes] = losses[t];
            }
            OWL_BARRIER();
        }
    }
}

}  // namespace cuda
}  // namespace owl

#define OWL_BY_KIND(run, T, ...)                                                                                          \
    switch (a.kind) {                                                                                                     \
        case owl::SoftmaxKind::plain: owl::cuda::run<T, owl::SoftmaxKind::plain>(__VA_ARGS__); break;                     \
        case owl::SoftmaxKind::logarithm: owl::cuda::run<T, owl::SoftmaxKind::logarithm>(__VA_ARGS__); break;             \
        case owl::SoftmaxKind::loss: owl::cuda::run<T, owl::SoftmaxKind::loss>(__VA_ARGS__); break;                       \
        case owl::SoftmaxKind::difference: owl::cuda::run<T, owl::SoftmaxKind::difference>(__VA_ARGS__); break;           \
    }
#define OWL_SOFTMAX(T, type)                                                                     \
    OWL_KERNEL(softmax_lines_##type, owl::cuda::SoftmaxLaunch) { OWL_BY_KIND(run_lines, T, a) }  \
    OWL_KERNEL(softmax_long_##type, owl::cuda::SoftmaxLaunch) {                                  \
        OWL_SHARED(T, tops, owl::cuda::kSoftmaxThreads);                                         \
        OWL_SHARED(T, sums, owl::cuda::kSoftmaxThreads);                                         \
        OWL_SHARED(T, losses, owl::cuda::kSoftmaxThreads);                                       \
        OWL_BY_KIND(run_long, T, a, tops, sums, losses)                                          \
    }
OWL_SOFTMAX(float, f32)
OWL_SOFTMAX(double, f64)
#undef OWL_SOFTMAX
#undef OWL_BY_KIND
