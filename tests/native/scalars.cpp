#include "scalars.h"

#define OWL_SCALARS 1
#include "_cpu/kernels/arithmetic.h"

namespace owl {
namespace {

template <class T, class F>
bool apply(F f, const T* x, const T* y, T* out, size_t count) {
    for (size_t i = 0; i < count; ++i) out[i] = f(x[i], y[i]);
    return true;
}

template <class T>
bool compute(int function, const T* x, const T* y, T* out, size_t count) {
    switch (function) {
        case 0: return apply([](T a, T) { return scalar::exp(a); }, x, y, out, count);
        case 1: return apply([](T a, T) { return scalar::log(a); }, x, y, out, count);
        case 2: return apply([](T a, T) { return scalar::sigmoid(a); }, x, y, out, count);
        case 3: return apply([](T a, T) { return scalar::tanh(a); }, x, y, out, count);
        case 4: return apply([](T a, T) { return scalar::sqrt(a); }, x, y, out, count);
        case 5: return apply([](T a, T) { return scalar::abs(a); }, x, y, out, count);
        case 6: return apply([](T a, T b) { return scalar::max(a, b); }, x, y, out, count);
        case 7: return apply([](T a, T b) { return scalar::min(a, b); }, x, y, out, count);
        case 8: return apply([](T a, T b) { return scalar::pow(a, b); }, x, y, out, count);
        default: return false;
    }
}

}  // namespace

bool compute_scalars(int function, const float* x, const float* y, float* out, size_t count) {
    return compute(function, x, y, out, count);
}
bool compute_scalars(int function, const double* x, const double* y, double* out, size_t count) {
    return compute(function, x, y, out, count);
}

}  // namespace owl
