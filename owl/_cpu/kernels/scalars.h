// Numbers with the names that simd.h gives to vectors, for arithmetic.h: what a kernel computes where a thread has one number
// in hand, and what a vector's lanes are held against. A multiplication and an addition are fused where fma() says so alone.
#pragma once
#include <stdint.h>
#ifndef __CUDACC__
#include <string.h>
#endif

#ifndef OWL_ISA
#define OWL_ISA scalar
#endif
#ifdef __CUDACC__
#define OWL_INLINE __device__ __forceinline__
#else
#define OWL_INLINE inline __attribute__((always_inline))
#endif

namespace owl {
namespace OWL_ISA {

constexpr bool kHasFma = true;

template <class V>
using Lane = V;
template <class T>
using Mask = bool;
template <class V>
constexpr bool is_float = sizeof(V) == 4;
template <class V>
OWL_INLINE V constant(V x) { return x; }

template <class V>
struct Bits;
template <>
struct Bits<float> {
    using UInt = uint32_t;
    static constexpr int mantissa = 23;
    static constexpr UInt bias = 127;
};
template <>
struct Bits<double> {
    using UInt = uint64_t;
    static constexpr int mantissa = 52;
    static constexpr UInt bias = 1023;
};

#ifdef __CUDACC__
OWL_INLINE uint32_t as_bits(float x) { return __float_as_uint(x); }
OWL_INLINE uint64_t as_bits(double x) { return static_cast<uint64_t>(__double_as_longlong(x)); }
OWL_INLINE float from_bits(uint32_t x) { return __uint_as_float(x); }
OWL_INLINE double from_bits(uint64_t x) { return __longlong_as_double(static_cast<long long>(x)); }
OWL_INLINE float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
OWL_INLINE double fma(double a, double b, double c) { return __fma_rn(a, b, c); }
OWL_INLINE float sqrt(float x) { return __fsqrt_rn(x); }
OWL_INLINE double sqrt(double x) { return __dsqrt_rn(x); }
#else
template <class To, class From>
OWL_INLINE To same_bits(From x) {
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}
OWL_INLINE uint32_t as_bits(float x) { return same_bits<uint32_t>(x); }
OWL_INLINE uint64_t as_bits(double x) { return same_bits<uint64_t>(x); }
OWL_INLINE float from_bits(uint32_t x) { return same_bits<float>(x); }
OWL_INLINE double from_bits(uint64_t x) { return same_bits<double>(x); }
OWL_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
OWL_INLINE double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
OWL_INLINE float sqrt(float x) { return __builtin_sqrtf(x); }
OWL_INLINE double sqrt(double x) { return __builtin_sqrt(x); }
#endif

// Whole numbers as floating-point ones, exactly: below 2^31 as floats, below 2^52 as doubles.
OWL_INLINE float from_whole(uint32_t x) { return static_cast<float>(static_cast<int32_t>(x)); }
OWL_INLINE double from_whole(uint64_t x) { return from_bits(x | as_bits(0x1p52)) - 0x1p52; }

template <class V>
OWL_INLINE bool lt(V x, V y) { return x < y; }
template <class V>
OWL_INLINE bool le(V x, V y) { return x <= y; }
template <class V>
OWL_INLINE bool gt(V x, V y) { return x > y; }
template <class V>
OWL_INLINE bool ge(V x, V y) { return x >= y; }
template <class V>
OWL_INLINE bool eq(V x, V y) { return x == y; }
template <class V>
OWL_INLINE bool ne(V x, V y) { return x != y; }
template <class V>
OWL_INLINE V select(bool m, V x, V y) { return m ? x : y; }
OWL_INLINE bool mask_and(bool a, bool b) { return a & b; }
OWL_INLINE bool mask_or(bool a, bool b) { return a | b; }
OWL_INLINE bool mask_not(bool a) { return !a; }
template <class V>
OWL_INLINE V mask_to_number(bool m) { return m ? V(1) : V(0); }

// f(x, y) for floats, computed in doubles and rounded once.
template <class F>
OWL_INLINE float in_doubles(float x, float y, F f) {
    return static_cast<float>(f(static_cast<double>(x), static_cast<double>(y)));
}

}  // namespace OWL_ISA
}  // namespace owl
