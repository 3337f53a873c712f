// Local response normalization across channels. A chunk is a block of pixels of one image, over all its channels.
#include "conv_block.h"
#include "_cpu/kernels/arithmetic.h"
#include "_cpu/kernels/kernel_maker.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int64_t kPixelsPerChunk = 256;

// The sum over the channels around c, in their order.
template <class T>
OWL_INLINE Vec<T> sum_around(const T* terms, int64_t c, int64_t channels, int64_t local_size) {
    const int64_t half = local_size / 2;
    Vec<T> sum{};
    for (int64_t i = max64(0, c - half); i < min64(channels, c + half + 1); ++i)
        sum = sum + load(terms + i * kWidth<T>);
    return sum;
}

template <class T>
void forward(const LrnArgs& a, int64_t at, int n, T* terms) {
    const T* x = static_cast<const T*>(a.x) + at;
    T *scale = a.scale ? static_cast<T*>(a.scale) + at : nullptr, *y = a.y ? static_cast<T*>(a.y) + at : nullptr;
    for (int64_t c = 0; c < a.channels; ++c) {
        const Vec<T> v = load_lanes(x + c * a.inner, n);
        store(terms + c * kWidth<T>, v * v);
    }
    const Vec<T> share = set1(T(a.alpha / double(a.local_size))), power = set1(T(-a.beta));
    for (int64_t c = 0; c < a.channels; ++c) {
        const Vec<T> s = set1(T(1)) + share * sum_around(terms, c, a.channels, a.local_size);
        if (scale) store_lanes(scale + c * a.inner, s, n);
        if (y) store_lanes(y + c * a.inner, load_lanes(x + c * a.inner, n) * pow(s, power), n);
    }
}

template <class T>
void backward(const LrnArgs& a, int64_t at, int n, T* terms) {
    const T *x = static_cast<const T*>(a.x) + at, *y = static_cast<const T*>(a.y) + at;
    const T *scale = static_cast<const T*>(a.scale) + at, *y_diff = static_cast<const T*>(a.y_diff) + at;
    T* x_diff = static_cast<T*>(a.x_diff) + at;
    // Lanes beyond the data divide by 1.
    auto scale_of = [&](int64_t c) {
        const Vec<T> s = load_lanes(scale + c * a.inner, n);
        return select(eq(s, Vec<T>{}), set1(T(1)), s);
    };
    for (int64_t c = 0; c < a.channels; ++c) {
        const Vec<T> term = load_lanes(y_diff + c * a.inner, n) * load_lanes(y + c * a.inner, n) / scale_of(c);
        store(terms + c * kWidth<T>, term);
    }
    const Vec<T> factor = set1(T(2 * a.alpha * a.beta / double(a.local_size))), power = set1(T(-a.beta));
    for (int64_t c = 0; c < a.channels; ++c) {
        const Vec<T> direct = load_lanes(y_diff + c * a.inner, n) * pow(scale_of(c), power);
        const Vec<T> through_scale = sum_around(terms, c, a.channels, a.local_size) * load_lanes(x + c * a.inner, n);
        store_lanes(x_diff + c * a.inner, direct - factor * through_scale, n);
    }
}

template <class T, bool Backward>
void run_typed(const LrnArgs& a, int64_t begin, int64_t end, void* scratch) {
    const int64_t blocks = ceil_div(a.inner, kPixelsPerChunk);
    for (int64_t i = begin; i < end; ++i) {
        const int64_t image = i / blocks, first = i % blocks * kPixelsPerChunk;
        for (int64_t p = first; p < min64(first + kPixelsPerChunk, a.inner); p += kWidth<T>) {
            const int n = int(min64(kWidth<T>, a.inner - p));
            const int64_t at = image * a.channels * a.inner + p;
            if (Backward) backward(a, at, n, static_cast<T*>(scratch));
            else forward(a, at, n, static_cast<T*>(scratch));
        }
    }
}

template <bool Backward>
void run(const LrnArgs& a, int64_t begin, int64_t end, void* scratch) {
    by_dtype(a.dtype, [&](auto zero) { run_typed<decltype(zero), Backward>(a, begin, end, scratch); });
}

int64_t chunks(const LrnArgs& a) { return a.batch * ceil_div(a.inner, kPixelsPerChunk); }
size_t scratch_bytes(const LrnArgs& a) { return size_t(a.channels) * kVectorBytes; }

template <bool Backward>
using LrnKernel = OnePhaseKernel<LrnArgs, chunks, run<Backward>, scratch_bytes>;

}  // namespace

extern const Kernel lrn_forward_kernel, lrn_backward_kernel;
const Kernel lrn_forward_kernel = LrnKernel<false>::named("lrn_forward");
const Kernel lrn_backward_kernel = LrnKernel<true>::named("lrn_backward");

}  // namespace OWL_ISA
}  // namespace owl
