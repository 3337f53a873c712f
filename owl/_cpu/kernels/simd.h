// Vectors of the widest registers of the instruction set being compiled for, and mathematics on them.
//
// Code is written once over `V = Vec<T>` (T float or double) with the operators + - * / and the functions below; V is a
// GCC/Clang vector extension, so a lane is v[i]. Comparisons give a Mask<T>, which only select(), the mask operators
// and any() understand: it is a bit mask on AVX-512 and a vector elsewhere.
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

// -------------------------------------------------------------------------------------------------- loads and stores

template <class T>
OWL_INLINE Vec<T> set1(T x) { return x - Vec<T>{}; }  // x + 0 would lose the sign of -0

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

template <class V>
OWL_INLINE V abs(V x) {
    using S = Simd<Lane<V>>;
    return from_bits(as_bits(x) & ((typename S::UInt(1) << (sizeof(Lane<V>) * 8 - 1)) - 1));
}
// The magnitude of x with the sign of y.
template <class V>
OWL_INLINE V copysign(V x, V y) {
    using S = Simd<Lane<V>>;
    const auto sign = typename S::UInt(1) << (sizeof(Lane<V>) * 8 - 1);
    return from_bits((as_bits(x) & (sign - 1)) | (as_bits(y) & sign));
}
template <class V>
OWL_INLINE Mask<Lane<V>> is_nan(V x) { return ne(x, x); }

// As NumPy's maximum and minimum: a NaN wins, the first operand's before the second's.
template <class V>
OWL_INLINE V max(V x, V y) { return select(mask_or(ge(x, y), is_nan(x)), x, y); }
template <class V>
OWL_INLINE V min(V x, V y) { return select(mask_or(le(x, y), is_nan(x)), x, y); }

// --------------------------------------------------------------------------------------------- exp, log and their kin

template <class T>
struct Constants;
template <>
struct Constants<float> {
    static constexpr float infinity = __builtin_inff(), nan = __builtin_nanf("");
    static constexpr float smallest_normal = 0x1p-126f, scale_up = 0x1p25f, scale_up_log2 = 25;
    static constexpr float integer = 0x1p23f, round = 0x1.8p23f;  // every float from `integer` on is a whole number
    static constexpr float log2e = 1.44269504f, ln2_high = 0x1.62ep-1f, ln2_low = 0x1.0bfbe8p-15f;
    static constexpr float exp_low = -104.0f, exp_high = 89.0f;
    static constexpr uint32_t sqrt_half = 0x3f3504f3u;
};
template <>
struct Constants<double> {
    static constexpr double infinity = __builtin_inf(), nan = __builtin_nan("");
    static constexpr double smallest_normal = 0x1p-1022, scale_up = 0x1p54, scale_up_log2 = 54;
    static constexpr double integer = 0x1p52, round = 0x1.8p52;
    static constexpr double log2e = 1.4426950408889634;
    static constexpr double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;
    static constexpr double exp_low = -746.0, exp_high = 710.0;
    static constexpr uint64_t sqrt_half = 0x3fe6a09e667f3bcdull;
};

// (e^r - 1 - r) / r^2 for |r| <= ln(2)/2.
OWL_INLINE VecF exp_tail(VecF r) {
    VecF p = set1(1.9875691500e-4f);
    p = fma(p, r, set1(1.3981999507e-3f));
    p = fma(p, r, set1(8.3334519073e-3f));
    p = fma(p, r, set1(4.1665795894e-2f));
    p = fma(p, r, set1(1.6666665459e-1f));
    return fma(p, r, set1(5.0000001201e-1f));
}
OWL_INLINE VecD exp_tail(VecD r) {
    VecD p = set1(1.0 / 6227020800.0);
    p = fma(p, r, set1(1.0 / 479001600.0));
    p = fma(p, r, set1(1.0 / 39916800.0));
    p = fma(p, r, set1(1.0 / 3628800.0));
    p = fma(p, r, set1(1.0 / 362880.0));
    p = fma(p, r, set1(1.0 / 40320.0));
    p = fma(p, r, set1(1.0 / 5040.0));
    p = fma(p, r, set1(1.0 / 720.0));
    p = fma(p, r, set1(1.0 / 120.0));
    p = fma(p, r, set1(1.0 / 24.0));
    p = fma(p, r, set1(1.0 / 6.0));
    return fma(p, r, set1(0.5));
}

// e^(x + low), where |low| is far below |x|.
template <class V>
OWL_INLINE V exp_sum(V x, V low) {
    using T = Lane<V>;
    using S = Simd<T>;
    using C = Constants<T>;
    V clamped = select(gt(x, set1(C::exp_high)), set1(C::exp_high), x);
    clamped = select(lt(x, set1(C::exp_low)), set1(C::exp_low), clamped);
    V shifted = fma(clamped, set1(C::log2e), set1(C::round));  // its low bits are the nearest power of two
    V n = shifted - C::round;
    V r = fma(n, set1(-C::ln2_high), clamped);
    r = fma(n, set1(-C::ln2_low), r) + low;
    V p = T(1) + (r + r * r * exp_tail(r));
    // Two factors of about half the exponent each, so that denormal results are rounded once and nothing wraps.
    auto exponent = as_bits(shifted) - (as_bits(set1(C::round)) - 2 * S::bias);
    auto half = exponent >> 1;
    V y = p * from_bits(half << S::mantissa) * from_bits((exponent - half) << S::mantissa);
    return select(is_nan(x), x, y);
}
template <class V>
OWL_INLINE V exp(V x) { return exp_sum(x, V{}); }

// x = 2^exponent * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), for finite x > 0.
template <class V>
OWL_INLINE void split_exponent(V x, V& exponent, V& f) {
    using T = Lane<V>;
    using S = Simd<T>;
    using C = Constants<T>;
    auto small = lt(x, set1(C::smallest_normal));
    x = select(small, x * C::scale_up, x);
    const auto one = typename S::UInt(S::bias) << S::mantissa;
    auto bits = as_bits(x) + (one - C::sqrt_half);
    auto biased = bits >> S::mantissa;
    exponent = from_bits(biased | as_bits(set1(C::integer))) - (C::integer + T(S::bias));
    exponent = select(small, exponent - C::scale_up_log2, exponent);
    f = from_bits((bits & ((typename S::UInt(1) << S::mantissa) - 1)) + C::sqrt_half) - T(1);
}

// atanh(s) = s + s^3/3 + s^5/5 + …: with z = s^2, the part 2 z/3 + 2 z^2/5 + … of 2 atanh(s)/s, for |s| <= 0.172.
OWL_INLINE VecF atanh_tail(VecF z) {
    VecF p = set1(0.24279078841f);
    p = fma(p, z, set1(0.28498786688f));
    p = fma(p, z, set1(0.40000972152f));
    return fma(p, z, set1(0.66666662693f)) * z;
}
OWL_INLINE VecD atanh_tail(VecD z) {
    VecD p = set1(1.479819860511658591e-01);
    p = fma(p, z, set1(1.531383769920937332e-01));
    p = fma(p, z, set1(1.818357216161805012e-01));
    p = fma(p, z, set1(2.222219843214978396e-01));
    p = fma(p, z, set1(2.857142874366239149e-01));
    p = fma(p, z, set1(3.999999999940941908e-01));
    return fma(p, z, set1(6.666666666666735130e-01)) * z;
}

// The values of log at 0, infinity, negative numbers and NaN.
template <class V>
OWL_INLINE V log_specials(V x, V y) {
    using C = Constants<Lane<V>>;
    y = select(eq(x, set1(C::infinity)), x, y);
    y = select(eq(x, V{}), set1(-C::infinity), y);
    y = select(lt(x, V{}), set1(C::nan), y);
    return select(is_nan(x), x, y);
}
template <class V>
OWL_INLINE V log(V x) {
    using C = Constants<Lane<V>>;
    V e, f;
    split_exponent(x, e, f);
    V s = f / (f + Lane<V>(2));
    V tail = atanh_tail(s * s);
    V half = Lane<V>(0.5) * f * f;  // log(1 + f) = f - (half - s (half + tail)): the leading term is exact
    V y = e * C::ln2_high - ((half - (s * (half + tail) + e * C::ln2_low)) - f);
    return log_specials(x, y);
}

template <class V>
OWL_INLINE V sigmoid(V x) {
    using T = Lane<V>;
    V e = exp(-abs(x));
    V y = select(ge(x, V{}), set1(T(1)), e) / (e + T(1));
    return select(is_nan(x), x, y);
}

// tanh(x) / x - 1 for |x| < 0.625, z = x^2.
OWL_INLINE VecF tanh_tail(VecF z) {
    VecF p = set1(-5.70498872745e-3f);
    p = fma(p, z, set1(2.06390887954e-2f));
    p = fma(p, z, set1(-5.37397155531e-2f));
    p = fma(p, z, set1(1.33314422036e-1f));
    return fma(p, z, set1(-3.33332819422e-1f)) * z;
}
OWL_INLINE VecD tanh_tail(VecD z) {
    VecD p = set1(-9.64399179425052238628e-1);
    p = fma(p, z, set1(-9.92877231001918586564e1));
    p = fma(p, z, set1(-1.61468768441708447952e3));
    VecD q = z + 1.12811678491632931402e2;
    q = fma(q, z, set1(2.23548839060100448583e3));
    q = fma(q, z, set1(4.84406305325125486048e3));
    return p * z / q;
}
template <class V>
OWL_INLINE V tanh(V x) {
    using T = Lane<V>;
    V a = abs(x);
    V near = a + a * tanh_tail(a * a);
    V far = T(1) - T(2) / (exp(a + a) + T(1));
    V y = copysign(select(lt(a, set1(T(0.625))), near, far), x);
    return select(is_nan(x), x, y);
}

// ---------------------------------------------------------------------------------------------------------------- pow

// a + b and a * b as an unevaluated sum of two numbers, exactly. two_sum_ordered needs |a| >= |b|.
OWL_INLINE void two_sum_ordered(VecD a, VecD b, VecD& high, VecD& low) {
    high = a + b;
    low = b - (high - a);
}
OWL_INLINE void two_product(VecD a, VecD b, VecD& high, VecD& low) {
    high = a * b;
    if (kHasFma) {
        low = fma(a, b, -high);
    } else {
        const double splitter = 134217729.0;  // 2^27 + 1
        VecD p = a * splitter, q = b * splitter;
        VecD ah = p - (p - a), bh = q - (q - b), al = a - ah, bl = b - bh;
        low = al * bl - (((high - ah * bh) - al * bh) - ah * bl);
    }
}

// |x|^y without the special cases. The logarithm is carried to about 2^-66, so that y log x keeps 2^-55 even at 700.
OWL_INLINE VecD pow_core(VecD magnitude, VecD y) {
    VecD e, f;
    split_exponent(magnitude, e, f);
    // s = f / (2 + f) as s + s_low.
    VecD d, d_low, s = f / (f + 2.0), product, product_low;
    two_sum_ordered(set1(2.0), f, d, d_low);
    two_product(s, d, product, product_low);
    VecD s_low = (((f - product) - product_low) - s * d_low) / d;
    // z = s^2, and the cubic term 2/3 s^3, likewise in two parts; the rest is small enough for one.
    VecD z, z_low, cube, cube_low, third, third_low;
    two_product(s, s, z, z_low);
    z_low = z_low + 2.0 * s * s_low;
    two_product(z, s, cube, cube_low);
    cube_low = cube_low + z_low * s + z * s_low;
    two_product(cube, set1(0x1.5555555555555p-1), third, third_low);
    third_low = third_low + cube_low * 0x1.5555555555555p-1 + cube * 0x1.5555555555555p-55;
    VecD p = set1(2.0 / 21);
    p = fma(p, z, set1(2.0 / 19));
    p = fma(p, z, set1(2.0 / 17));
    p = fma(p, z, set1(2.0 / 15));
    p = fma(p, z, set1(2.0 / 13));
    p = fma(p, z, set1(2.0 / 11));
    p = fma(p, z, set1(2.0 / 9));
    p = fma(p, z, set1(2.0 / 7));
    p = fma(p, z, set1(2.0 / 5));
    VecD rest = p * z * z * s;
    // Largest first: e ln 2 (its product with the short ln2_high is exact), 2 s, 2/3 s^3, the rest.
    VecD high, low, next, error;
    two_sum_ordered(2.0 * s, third, high, low);
    low = low + (third_low + (2.0 * s_low + rest));
    VecD exponent = e * Constants<double>::ln2_high;
    next = exponent + high;
    error = select(eq(e, VecD{}), VecD{}, high - (next - exponent));  // |e ln 2| > |high| unless e = 0
    low = low + error + e * Constants<double>::ln2_low;
    two_sum_ordered(next, low, high, low);
    VecD t, t_low;
    two_product(high, y, t, t_low);
    t_low = t_low + low * y;
    // Beyond the range of exp the low part means nothing and may be NaN.
    t_low = select(mask_and(lt(abs(t), set1(800.0)), lt(abs(t_low), set1(1.0))), t_low, VecD{});
    return exp_sum(t, t_low);
}
OWL_INLINE VecF pow_core(VecF magnitude, VecF y) {
    VecD x0, x1, y0, y1;
    widen(magnitude, x0, x1);
    widen(y, y0, y1);
    return narrow(exp(log(x0) * y0), exp(log(x1) * y1));
}

template <class V>
OWL_INLINE Mask<Lane<V>> is_whole(V x) {
    using C = Constants<Lane<V>>;
    V a = abs(x);
    return mask_or(ge(a, set1(C::integer)), eq((a + C::integer) - C::integer, a));
}

// As C's and NumPy's pow: 1 where y = 0 or x = 1, whatever the other is; NaN for a finite x < 0 and a y that is no
// whole number; the sign of x^y for whole y.
template <class V>
OWL_INLINE V pow(V x, V y) {
    using T = Lane<V>;
    using C = Constants<T>;
    const V zero{}, one = set1(T(1)), infinity = set1(C::infinity);
    V a = abs(x), y_size = abs(y);
    V r = pow_core(a, y);
    auto grows = mask_or(mask_and(gt(a, one), gt(y, zero)), mask_and(lt(a, one), lt(y, zero)));
    auto extreme = mask_or(mask_or(eq(a, zero), eq(a, infinity)), eq(y_size, infinity));
    r = select(extreme, select(grows, infinity, zero), r);
    auto whole = is_whole(y);
    auto odd = mask_and(whole, mask_not(is_whole(y * T(0.5))));
    r = select(odd, copysign(r, x), r);
    r = select(mask_and(mask_and(lt(x, zero), lt(a, infinity)), mask_not(whole)), set1(C::nan), r);
    r = select(is_nan(x), x, select(is_nan(y), y, r));
    auto unit = mask_or(mask_or(eq(y, zero), eq(x, one)), mask_and(eq(a, one), eq(y_size, infinity)));
    return select(unit, one, r);
}

}  // namespace OWL_ISA
}  // namespace owl
