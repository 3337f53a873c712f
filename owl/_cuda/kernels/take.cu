// Pieces of the middle dimension of a dense [inner, length, outer] by their positions, and the gradient of that.
//
// A thread has an element of the result. For the gradient its block goes through all indices, a stretch of them in shared
// memory at a time, and looks only at those groups of them in which one of the block's positions is; each element is added
// to in the order of the indices.
#include "args.h"
#include "indices.cuh"

namespace owl {
namespace cuda {

// -1 for a number that is no position.
template <class T>
OWL_DEVICE int64_t position_of(T index, int64_t length) {
    if (!(index >= 0 && index < static_cast<T>(length))) return -1;
    const int64_t position = static_cast<int64_t>(index);
    return static_cast<T>(position) == index ? position : -1;
}

template <class T>
OWL_DEVICE T not_a_number() {
    if constexpr (sizeof(T) == 4) return __builtin_nanf("");
    else return __builtin_nan("");
}

template <class T>
OWL_DEVICE void take(const TakeLaunch& a) {
    OWL_THREADS(t) {
        const int64_t size = a.inner * a.count * a.outer, step = OWL_BLOCKS() * kTakeThreads;
        for (int64_t at = OWL_BLOCK() * kTakeThreads + t; at < size; at += step) {
            int64_t outer = at;
            const int64_t inner = take_digit(outer, a.inner), i = take_digit(outer, a.count);
            const int64_t position = position_of<T>(static_cast<const T*>(a.indices)[i], a.length);
            T y = not_a_number<T>();
            if (position >= 0) y = static_cast<const T*>(a.x)[inner + (position + outer * a.length) * a.inner];
            static_cast<T*>(a.y)[at] = y;
        }
    }
}

template <class T>
OWL_DEVICE void take_back(const TakeLaunch& a) {
    constexpr int kGroup = 32, kGroups = kTakeThreads / kGroup;
    OWL_SHARED(int64_t, position, kTakeThreads);
    OWL_SHARED(int, wanted, kGroups);
    OWL_PRIVATE(T, sum, 1);
    const int64_t plane = a.inner * a.length, stretches = tiles_of(plane, kTakeThreads);
    for (int64_t unit = OWL_BLOCK(); unit < stretches * a.outer; unit += OWL_BLOCKS()) {
        int64_t outer = unit;
        const int64_t first = take_digit(outer, stretches) * kTakeThreads, end = smaller(plane, first + kTakeThreads);
        const int64_t lowest = quotient(first, a.inner), highest = quotient(end - 1, a.inner);
        for (int64_t from = 0; from == 0 || from < a.count; from += kTakeThreads) {
            OWL_THREADS(t) {
                if (from == 0) sum[0] = T(0);
                const bool there = from + t < a.count;
                position[t] = there ? position_of<T>(static_cast<const T*>(a.indices)[from + t], a.length) : -1;
            }
            OWL_BARRIER();
            OWL_THREADS(t) {
                if (t < kGroups) {
                    int found = 0;
                    for (int k = 0; k < kGroup; ++k) {
                        const int64_t here = position[t * kGroup + k];
                        found |= here >= lowest && here <= highest;
                    }
                    wanted[t] = found;
                }
            }
            OWL_BARRIER();
            OWL_THREADS(t) {
                int64_t mine = first + t;
                const bool there = mine < end;
                const int64_t inner = take_digit(mine, a.inner);
                for (int group = 0; group < kGroups; ++group) {
                    if (!wanted[group] || !there) continue;
                    for (int k = group * kGroup; k < (group + 1) * kGroup; ++k) {
                        if (position[k] != mine) continue;
                        sum[0] = sum[0] + static_cast<const T*>(a.x)[inner + (from + k + outer * a.count) * a.inner];
                    }
                }
            }
            OWL_BARRIER();
        }
        OWL_THREADS(t) if (first + t < end) static_cast<T*>(a.y)[outer * plane + first + t] = sum[0];
    }
}

}  // namespace cuda
}  // namespace owl

OWL_KERNEL(take_f32, owl::cuda::TakeLaunch) { owl::cuda::take<float>(a); }
OWL_KERNEL(take_f64, owl::cuda::TakeLaunch) { owl::cuda::take<double>(a); }
OWL_KERNEL(take_back_f32, owl::cuda::TakeLaunch) { owl::cuda::take_back<float>(a); }
OWL_KERNEL(take_back_f64, owl::cuda::TakeLaunch) { owl::cuda::take_back<double>(a); }
