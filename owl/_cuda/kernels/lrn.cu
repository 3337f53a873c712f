// Local response normalization across channels: a thread makes one element, by the CPU's sums in the CPU's order.
#define OWL_ISA cuda
#define OWL_SCALARS 1
#include "_cpu/kernels/arithmetic.h"
#include "args.h"
#include "indices.cuh"

namespace owl {
namespace cuda {

// The sum of terms of the channels around c, in their order.
template <class T, class Launch, class Term>
OWL_DEVICE T sum_around(const Launch& a, int64_t c, Term term) {
    T sum = T(0);
    for (int64_t i = larger(0, c - a.half); i < smaller(a.channels, c + a.half + 1); ++i) sum = sum + term((i - c) * a.inner);
    return sum;
}

template <class Launch>
OWL_DEVICE int64_t channel_of(const Launch& a, int64_t at) {
    int64_t rest = quotient(at, a.inner);
    return take_digit(rest, a.channels);
}

template <class T>
OWL_DEVICE void normalize(const LrnLaunch& a) {
    OWL_THREADS(t) {
        const T share = static_cast<T>(a.share), power = static_cast<T>(a.power);
        const int64_t size = a.inner * a.channels * a.batch;
        for (int64_t at = OWL_BLOCK() * kLrnThreads + t; at < size; at += OWL_BLOCKS() * kLrnThreads) {
            const T* x = static_cast<const T*>(a.x) + at;
            const T sum = sum_around<T>(a, channel_of(a, at), [&](int64_t beside) { return x[beside] * x[beside]; });
            const T scale = T(1) + share * sum;
            if (a.scale) static_cast<T*>(a.scale)[at] = scale;
            if (a.y) static_cast<T*>(a.y)[at] = *x * pow(scale, power);
        }
    }
}

template <class T>
OWL_DEVICE void normalize_backward(const LrnBackwardLaunch& a) {
    OWL_THREADS(t) {
        const T factor = static_cast<T>(a.factor), power = static_cast<T>(a.power);
        const int64_t size = a.inner * a.channels * a.batch;
        for (int64_t at = OWL_BLOCK() * kLrnThreads + t; at < size; at += OWL_BLOCKS() * kLrnThreads) {
            const T *y = static_cast<const T*>(a.y) + at, *y_diff = static_cast<const T*>(a.y_diff) + at;
            const T* scale = static_cast<const T*>(a.scale) + at;
            // The CPU divides by 1 where the scale is 0, so that its vectors' unused lanes stay finite.
            const auto divisor = [&](int64_t beside) { return scale[beside] == T(0) ? T(1) : scale[beside]; };
            const T direct = *y_diff * pow(divisor(0), power);
            const T sum = sum_around<T>(a, channel_of(a, at),
                                        [&](int64_t beside) { return y_diff[beside] * y[beside] / divisor(beside); });
            const T through_scale = sum * static_cast<const T*>(a.x)[at];
            static_cast<T*>(a.x_diff)[at] = direct - factor * through_scale;
        }
    }
}

}  // namespace cuda
}  // namespace owl

OWL_KERNEL(lrn_forward_f32, owl::cuda::LrnLaunch) { owl::cuda::normalize<float>(a); }
OWL_KERNEL(lrn_forward_f64, owl::cuda::LrnLaunch) { owl::cuda::normalize<double>(a); }
OWL_KERNEL(lrn_backward_f32, owl::cuda::LrnBackwardLaunch) { owl::cuda::normalize_backward<float>(a); }
OWL_KERNEL(lrn_backward_f64, owl::cuda::LrnBackwardLaunch) { owl::cuda::normalize_backward<double>(a); }
