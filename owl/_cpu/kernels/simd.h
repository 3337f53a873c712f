// Vectors of the widest registers of the instruction set being compiled for.
//
// Code is written once over `V = Vec<T>` (T float or double) with the operators + - * / and the functions below; V is a
// GCC/Clang vector extension, so a lane is v[i]. Comparisons give a Mask<T>, which only select(), the mask operators
// and any() understand: it is a bit mask on AVX-512 and a vector elsewhere. Mathematics on them is arithmetic.h's.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef OWL_ISA
#error "define OWL_ISA as avx512, avx2 or generic"
#endif
#define OWL_INLINE inline __attribute__((always_inline))
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors never cross the border between instruction sets
#endif

namespace owl {
namespace OWL_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kVectorRegisters = 32;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kVectorRegisters = 16;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16;
constexpr int kVectorRegisters = 32;
#else
constexpr int kVectorBytes = 16;
constexpr int kVectorRegisters = 16;
#endif
#if defined(__FMA__) || (defined(__ARM_NEON) && defined(__aarch64__))
constexpr bool kHasFma = true;
#else
constexpr bool kHasFma = false;
#endif

typedef float VecF __attribute__((vector_size(kVectorBytes)));
typedef double VecD __attribute__((vector_size(kVectorBytes)));
typedef int32_t VecI32 __attribute__((vector_size(kVectorBytes)));
typedef int64_t VecI64 __attribute__((vector_size(kVectorBytes)));
typedef uint32_t VecU32 __attribute__((vector_size(kVectorBytes)));
typedef uint64_t VecU64 __attribute__((vector_size(kVectorBytes)));

// Simd<T>: the vector V of T, vectors of signed and unsigned integers as wide as T, the mask M, the number of lanes.
template <class T>
struct Simd;
template <>
struct Simd<float> {
    using V = VecF;
    using I = VecI32;
    using U = VecU32;
    using Scalar = float;
    using UInt = uint32_t;
    static constexpr int width = kVectorBytes / 4;
    static constexpr int mantissa = 23;
    static constexpr UInt bias = 127;
#if defined(__AVX512F__)
    using M = __mmask16;
#else
    using M = VecI32;
#endif
};
template <>
struct Simd<double> {
    using V = VecD;
    using I = VecI64;
    using U = VecU64;
    using Scalar = double;
    using UInt = uint64_t;
    static constexpr int width = kVectorBytes / 8;
    static constexpr int mantissa = 52;
    static constexpr UInt bias = 1023;
#if defined(__AVX512F__)
    using M = __mmask8;
#else
    using M = VecI64;
#endif
};
template <class T>
using Vec = typename Simd<T>::V;
template <class T>
using Mask = typename Simd<T>::M;
template <class T>
constexpr int kWidth = Simd<T>::width;

template <class V>
struct LaneOf;
template <>
struct LaneOf<VecF> { using T = float; };
template <>
struct LaneOf<VecD> { using T = double; };
template <class V>
using Lane = typename LaneOf<V>::T;
template <class V>
using Bits = Simd<Lane<V>>;
template <class V>
constexpr bool is_float = sizeof(Lane<V>) == 4;

// -------------------------------------------------------------------------------------------------- loads and stores

template <class T>
OWL_INLINE Vec<T> set1(T x) { return x - Vec<T>{}; }  // x + 0 would lose the sign of -0
template <class V>
OWL_INLINE V constant(Lane<V> x) { return set1(x); }

template <class T>
OWL_INLINE Vec<T> load(const T* p) {  // any alignment
    Vec<T> v;
    memcpy(&v, p, sizeof v);
    return v;
}
template <class T>
OWL_INLINE Vec<T> load_aligned(const T* p) { return *(const Vec<T>*)p; }
template <class T>
OWL_INLINE void store(T* p, Vec<T> v) { memcpy(p, &v, sizeof v); }
template <class T>
OWL_INLINE void store_aligned(T* p, Vec<T> v) { *(Vec<T>*)p = v; }

// The first n < width lanes; the others are loaded as 0 and memory beyond is not touched.
#if defined(__AVX512F__)
OWL_INLINE VecF load_partial(const float* p, int n) {
    return (VecF)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
OWL_INLINE VecD load_partial(const double* p, int n) {
    return (VecD)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
}
OWL_INLINE void store_partial(float* p, VecF v, int n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
OWL_INLINE void store_partial(double* p, VecD v, int n) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
}
#elif defined(__AVX2__)
OWL_INLINE __m256i first_lanes(const float*, int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
OWL_INLINE __m256i first_lanes(const double*, int n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
OWL_INLINE VecF load_partial(const float* p, int n) { return (VecF)_mm256_maskload_ps(p, first_lanes(p, n)); }
OWL_INLINE VecD load_partial(const double* p, int n) { return (VecD)_mm256_maskload_pd(p, first_lanes(p, n)); }
OWL_INLINE void store_partial(float* p, VecF v, int n) { _mm256_maskstore_ps(p, first_lanes(p, n), (__m256)v); }
OWL_INLINE void store_partial(double* p, VecD v, int n) { _mm256_maskstore_pd(p, first_lanes(p, n), (__m256d)v); }
#else
template <class T>
OWL_INLINE Vec<T> load_partial(const T* p, int n) {
    Vec<T> v{};
    for (int i = 0; i < kWidth<T>; i++)
        if (i < n) v[i] = p[i];
    return v;
}
template <class T>
OWL_INLINE void store_partial(T* p, Vec<T> v, int n) {
    for (int i = 0; i < kWidth<T>; i++)
        if (i < n) p[i] = v[i];
}
#endif

// -------------------------------------------------------------------------------------------- integers and conversions

template <class V>
OWL_INLINE typename Simd<Lane<V>>::U as_bits(V v) { return (typename Simd<Lane<V>>::U)v; }
OWL_INLINE VecF from_bits(VecU32 v) { return (VecF)v; }
OWL_INLINE VecD from_bits(VecU64 v) { return (VecD)v; }

// Whole numbers as floating-point ones, exactly: below 2^31 as floats, below 2^52 as doubles.
OWL_INLINE VecF from_whole(VecU32 x) { return __builtin_convertvector((VecI32)x, VecF); }
OWL_INLINE VecD from_whole(VecU64 x) { return from_bits(x | as_bits(set1(0x1p52))) - 0x1p52; }

typedef float HalfF __attribute__((vector_size(kVectorBytes / 2)));

// A vector of floats as two of doubles, lower lanes first, and back with one rounding.
OWL_INLINE void widen(VecF v, VecD& low, VecD& high) {
    HalfF h[2];
    memcpy(h, &v, sizeof v);
    low = __builtin_convertvector(h[0], VecD);
    high = __builtin_convertvector(h[1], VecD);
}
OWL_INLINE VecF narrow(VecD low, VecD high) {
    HalfF h[2] = {__builtin_convertvector(low, HalfF), __builtin_convertvector(high, HalfF)};
    VecF v;
    memcpy(&v, h, sizeof v);
    return v;
}

// ---------------------------------------------------------------------------------------------- masks and comparisons

#if defined(__AVX512F__)
#define OWL_COMPARE(name, predicate)                                                                       \
    OWL_INLINE __mmask16 name(VecF x, VecF y) { return _mm512_cmp_ps_mask((__m512)x, (__m512)y, predicate); } \
    OWL_INLINE __mmask8 name(VecD x, VecD y) { return _mm512_cmp_pd_mask((__m512d)x, (__m512d)y, predicate); }
OWL_COMPARE(lt, _CMP_LT_OQ)
OWL_COMPARE(le, _CMP_LE_OQ)
OWL_COMPARE(gt, _CMP_GT_OQ)
OWL_COMPARE(ge, _CMP_GE_OQ)
OWL_COMPARE(eq, _CMP_EQ_OQ)
OWL_COMPARE(ne, _CMP_NEQ_UQ)
#undef OWL_COMPARE
OWL_INLINE VecF select(__mmask16 m, VecF x, VecF y) { return (VecF)_mm512_mask_mov_ps((__m512)y, m, (__m512)x); }
OWL_INLINE VecD select(__mmask8 m, VecD x, VecD y) { return (VecD)_mm512_mask_mov_pd((__m512d)y, m, (__m512d)x); }
template <class M>
OWL_INLINE M mask_and(M a, M b) { return (M)(a & b); }
template <class M>
OWL_INLINE M mask_or(M a, M b) { return (M)(a | b); }
template <class M>
OWL_INLINE M mask_not(M a) { return (M)~a; }
template <class M>
OWL_INLINE bool any(M m) { return m != 0; }
#else
template <class V>
OWL_INLINE Mask<Lane<V>> lt(V x, V y) { return x < y; }
template <class V>
OWL_INLINE Mask<Lane<V>> le(V x, V y) { return x <= y; }
template <class V>
OWL_INLINE Mask<Lane<V>> gt(V x, V y) { return x > y; }
template <class V>
OWL_INLINE Mask<Lane<V>> ge(V x, V y) { return x >= y; }
template <class V>
OWL_INLINE Mask<Lane<V>> eq(V x, V y) { return x == y; }
template <class V>
OWL_INLINE Mask<Lane<V>> ne(V x, V y) { return x != y; }
#if defined(__AVX2__)
OWL_INLINE VecF select(VecI32 m, VecF x, VecF y) { return (VecF)_mm256_blendv_ps((__m256)y, (__m256)x, (__m256)m); }
OWL_INLINE VecD select(VecI64 m, VecD x, VecD y) { return (VecD)_mm256_blendv_pd((__m256d)y, (__m256d)x, (__m256d)m); }
#else
OWL_INLINE VecF select(VecI32 m, VecF x, VecF y) { return (VecF)((m & (VecI32)x) | (~m & (VecI32)y)); }
OWL_INLINE VecD select(VecI64 m, VecD x, VecD y) { return (VecD)((m & (VecI64)x) | (~m & (VecI64)y)); }
#endif
template <class M>
OWL_INLINE M mask_and(M a, M b) { return a & b; }
template <class M>
OWL_INLINE M mask_or(M a, M b) { return a | b; }
template <class M>
OWL_INLINE M mask_not(M a) { return ~a; }
template <class M>
OWL_INLINE bool any(M m) {
    uint64_t words[sizeof(M) / 8], all = 0;
    memcpy(words, &m, sizeof m);
    for (size_t i = 0; i < sizeof(M) / 8; i++) all |= words[i];
    return all != 0;
}
#endif

// 1 where the mask is set, 0 elsewhere.
template <class T>
OWL_INLINE Vec<T> mask_to_number(Mask<T> m) { return select(m, set1<T>(1), Vec<T>{}); }

// ------------------------------------------------------------------------------------------------- simple arithmetic

#if defined(__AVX512F__)
OWL_INLINE VecF fma(VecF a, VecF b, VecF c) { return (VecF)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
OWL_INLINE VecD fma(VecD a, VecD b, VecD c) { return (VecD)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
OWL_INLINE VecF sqrt(VecF x) { return (VecF)_mm512_maskz_sqrt_ps(0xffff, (__m512)x); }
OWL_INLINE VecD sqrt(VecD x) { return (VecD)_mm512_maskz_sqrt_pd(0xff, (__m512d)x); }
#elif defined(__AVX2__)
OWL_INLINE VecF fma(VecF a, VecF b, VecF c) { return (VecF)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
OWL_INLINE VecD fma(VecD a, VecD b, VecD c) { return (VecD)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
OWL_INLINE VecF sqrt(VecF x) { return (VecF)_mm256_sqrt_ps((__m256)x); }
OWL_INLINE VecD sqrt(VecD x) { return (VecD)_mm256_sqrt_pd((__m256d)x); }
#elif defined(__ARM_NEON) && defined(__aarch64__)
OWL_INLINE VecF fma(VecF a, VecF b, VecF c) {
    return (VecF)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
OWL_INLINE VecD fma(VecD a, VecD b, VecD c) {
    return (VecD)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
OWL_INLINE VecF sqrt(VecF x) { return (VecF)vsqrtq_f32((float32x4_t)x); }
OWL_INLINE VecD sqrt(VecD x) { return (VecD)vsqrtq_f64((float64x2_t)x); }
#else
template <class V>
OWL_INLINE V fma(V a, V b, V c) { return a * b + c; }  // two roundings: this set has nothing better
#if defined(__SSE2__)
OWL_INLINE VecF sqrt(VecF x) { return (VecF)_mm_sqrt_ps((__m128)x); }
OWL_INLINE VecD sqrt(VecD x) { return (VecD)_mm_sqrt_pd((__m128d)x); }
#else
template <class V>
OWL_INLINE V sqrt(V x) {
    for (int i = 0; i < kWidth<Lane<V>>; i++) x[i] = (Lane<V>)__builtin_sqrt(x[i]);
    return x;
}
#endif
#endif

// The numbers 0 … K - 1 as arguments of a template.
template <int... I>
struct LaneList {};
template <int K, int... I>
struct CountLanes : CountLanes<K - 1, K - 1, I...> {};
template <int... I>
struct CountLanes<0, I...> { using type = LaneList<I...>; };

template <class V, int... I>
OWL_INLINE V every_other(V x, V y, LaneList<I...>) { return __builtin_shufflevector(x, y, (2 * I)...); }
// Lanes 0, 2, 4, … of x and y, one after the other.
template <class V>
OWL_INLINE V even_lanes(V x, V y) { return every_other(x, y, typename CountLanes<kWidth<Lane<V>>>::type()); }

// Lane i of the result is lane source[i] of x.
#if defined(__AVX512F__)
OWL_INLINE VecF permute(VecF x, VecI32 source) {
    return (VecF)_mm512_maskz_permutexvar_ps(0xffff, (__m512i)source, (__m512)x);
}
OWL_INLINE VecD permute(VecD x, VecI64 source) {
    return (VecD)_mm512_maskz_permutexvar_pd(0xff, (__m512i)source, (__m512d)x);
}
#else
#if defined(__AVX2__)
OWL_INLINE VecF permute(VecF x, VecI32 source) { return (VecF)_mm256_permutevar8x32_ps((__m256)x, (__m256i)source); }
#endif
template <class V>
OWL_INLINE V permute(V x, typename Simd<Lane<V>>::I source) {
    V y{};
    for (int i = 0; i < kWidth<Lane<V>>; i++) y[i] = x[source[i]];
    return y;
}
#endif

// f(x, y) for vectors of floats, computed in doubles and rounded once.
template <class F>
OWL_INLINE VecF in_doubles(VecF x, VecF y, F f) {
    VecD x0, x1, y0, y1;
    widen(x, x0, x1);
    widen(y, y0, y1);
    return narrow(f(x0, y0), f(x1, y1));
}

}  // namespace OWL_ISA
}  // namespace owl
