// Small helpers for cutting work into chunks and vectors.
#pragma once
#include <stdint.h>

#include "simd.h"

namespace owl {
namespace OWL_ISA {

OWL_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
OWL_INLINE int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
OWL_INLINE int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

// The first n lanes, n from 1 to the width: whole vectors and tails in one call.
template <class T>
OWL_INLINE Vec<T> load_lanes(const T* p, int n) { return n == kWidth<T> ? load(p) : load_partial(p, n); }
template <class T>
OWL_INLINE void store_lanes(T* p, Vec<T> v, int n) {
    if (n == kWidth<T>) store(p, v);
    else store_partial(p, v, n);
}

}  // namespace OWL_ISA
}  // namespace owl
