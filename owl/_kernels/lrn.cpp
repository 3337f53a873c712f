// Local response normalization across channels. A chunk is a block of pixels of one image, over all its channels.
#include "conv_block.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int64_t kPixelsPerChunk = 256;

template <class T>
OWL_INLINE Vec<T> load_pixels(const T* p, int n) { return n == kWidth<T> ? load(p) : load_partial(p, n); }

template <class T>
OWL_INLINE void store_pixels(T* p, Vec<T> v, int n) {
    if (n == kWidth<T>) store(p, v);
    else store_partial(p, v, n);
}

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
        const Vec<T> v = load_pixels(x + c * a.inner, n);
        store(terms + c * kWidth<T>, v * v);
    }
    const Vec<T> share = set1(T(a.alpha / double(a.local_size))), power = set1(T(-a.beta));
    for (int64_t c = 0; c < a.channels; ++c) {
        const Vec<T> s = set1(T(1)) + share * sum_around(terms, c, a.channels, a.local_size);
        if (scale) store_pixels(scale + c * a.inner, s, n);
        if (y) store_pixels(y + c * a.inner, load_pixels(x + c * a.inner, n) * pow(s, power), n);
    }
}

template <class T>
void backward(const LrnArgs& a, int64_t at, int n, T* terms) {
    const T *x = static_cast<const T*>(a.x) + at, *y = static_cast<const T*>(a.y) + at;
    const T *scale = static_cast<const T*>(a.scale) + at, *y_diff = static_cast<const T*>(a.y_diff) + at;
    T* x_diff = static_cast<T*>(a.x_diff) + at;
    // Lanes beyond the data divide by 1.
    auto scale_of = [&](int64_t c) {
        const Vec<T> s = load_pixels(scale + c * a.inner, n);
        return select(eq(s, Vec<T>{}), set1(T(1)), s);
    };
    for (int64_t c = 0; c < a.channels; ++c) {
        const Vec<T> term = load_pixels(y_diff + c * a.inner, n) * load_pixels(y + c * a.inner, n) / scale_of(c);
        store(terms + c * kWidth<T>, term);
    }
    const Vec<T> factor = set1(T(2 * a.alpha * a.beta / double(a.local_size))), power = set1(T(-a.beta));
    for (int64_t c = 0; c < a.channels; ++c) {
        const Vec<T> direct = load_pixels(y_diff + c * a.inner, n) * pow(scale_of(c), power);
        const Vec<T> through_scale = sum_around(terms, c, a.channels, a.local_size) * load_pixels(x + c * a.inner, n);
        store_pixels(x_diff + c * a.inner, direct - factor * through_scale, n);
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
void run(const void* args, int, int64_t begin, int64_t end, void* scratch) {
    const LrnArgs& a = *static_cast<const LrnArgs*>(args);
    if (a.dtype == DType::f64) run_typed<double, Backward>(a, begin, end, scratch);
    else run_typed<float, Backward>(a, begin, end, scratch);
}

int phases(const void*) { return 1; }
int64_t chunks(const void* args, int) {
    const LrnArgs& a = *static_cast<const LrnArgs*>(args);
    return a.batch * ceil_div(a.inner, kPixelsPerChunk);
}
size_t scratch_size(const void* args) { return size_t(static_cast<const LrnArgs*>(args)->channels) * kVectorBytes; }
size_t workspace(const void*) { return 0; }

}  // namespace

extern const Kernel lrn_forward_kernel, lrn_backward_kernel;
const Kernel lrn_forward_kernel = {"lrn_forward", phases, chunks, run<false>, scratch_size, workspace};
const Kernel lrn_backward_kernel = {"lrn_backward", phases, chunks, run<true>, scratch_size, workspace};

}  // namespace OWL_ISA
}  // namespace owl
