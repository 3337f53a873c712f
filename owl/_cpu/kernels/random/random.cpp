// Random numbers by Philox 4x32-10: each element depends on (seed, stream, counter) and its index alone.
//
// Key h is the first two words of Philox(counter = stream as two words, h, 0; key = seed as two words), low words
// first. Block b is Philox(counter = b as two words, draw counter as two words; a key): four words w0 … w3. Block
// b = 16 g + j gives word k to element 64 g + 16 k + j: of key 0 the element's upper bits, and for f64 of key 1 as many
// lower ones, so that both dtypes draw the same numbers but for rounding. A uniform number is the upper 24 bits times
// 2^-24, or the upper 53 times 2^-53. Normal numbers come in pairs by Box-Muller: the elements k = 0, 1 (and 2, 3) of a
// block are radius times cosine and sine, the radius from the first bits, the angle from the second.
#include <stdint.h>
#include <string.h>

#include "_cpu/kernels/kernel_maker.h"
#include "_cpu/kernels/arithmetic.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int64_t kChunk = 16384;  // a multiple of the elements of a group
constexpr int kGroupBlocks = 16;
constexpr uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
constexpr int kRounds = 10;
constexpr int kBlockLanes = kVectorBytes / 8;
constexpr int kWords = 4;  // of a block

struct Key {
    uint32_t round[kRounds][2];
};

void philox_words(uint32_t w[kWords], uint64_t key) {
    uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
    for (int r = 0; r < kRounds; ++r) {
        const uint64_t p0 = uint64_t(kMultiplier0) * w[0], p1 = uint64_t(kMultiplier1) * w[2];
        const uint32_t w0 = uint32_t(p1 >> 32) ^ w[1] ^ k0, w2 = uint32_t(p0 >> 32) ^ w[3] ^ k1;
        w[0] = w0;
        w[1] = uint32_t(p1);
        w[2] = w2;
        w[3] = uint32_t(p0);
        k0 += kWeyl0;
        k1 += kWeyl1;
    }
}

Key make_key(uint64_t seed, uint64_t stream, uint32_t half) {
    uint32_t w[kWords] = {uint32_t(stream), uint32_t(stream >> 32), half, 0};
    philox_words(w, seed);
    Key key;
    for (int r = 0; r < kRounds; ++r) {
        key.round[r][0] = w[0] + uint32_t(r) * kWeyl0;
        key.round[r][1] = w[1] + uint32_t(r) * kWeyl1;
    }
    return key;
}

// The product of the lower halves of 64-bit lanes.
OWL_INLINE VecU64 multiply_low(VecU64 a, VecU64 b) {
#if defined(__AVX512F__)
    // The masked form: the plain one makes GCC 12 warn of its own header.
    return (VecU64)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (VecU64)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (VecU64)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

OWL_INLINE VecU64 set_words(uint64_t x) { return VecU64{} + x; }

// The words of the blocks in the lanes of `block`, each in a 64-bit lane whose upper half means nothing.
OWL_INLINE void philox(VecU64 block, uint64_t counter, const Key& key, VecU64 w[kWords]) {
    VecU64 w0 = block, w1 = block >> 32, w2 = set_words(counter), w3 = set_words(counter >> 32);
    for (int r = 0; r < kRounds; ++r) {
        const VecU64 p0 = multiply_low(w0, set_words(kMultiplier0)), p1 = multiply_low(w2, set_words(kMultiplier1));
        w0 = (p1 >> 32) ^ w1 ^ uint64_t(key.round[r][0]);
        w1 = p1;
        w2 = (p0 >> 32) ^ w3 ^ uint64_t(key.round[r][1]);
        w3 = p0;
    }
    w[0] = w0;
    w[1] = w1;
    w[2] = w2;
    w[3] = w3;
}

OWL_INLINE VecU64 block_lanes(uint64_t first, uint64_t step) {
    VecU64 v{};
    for (int l = 0; l < kBlockLanes; ++l) v[l] = first + uint64_t(l) * step;
    return v;
}

template <class T>
struct Drawn;

template <>
struct Drawn<float> {
    static constexpr int kKeys = 1;
    static constexpr float kUnit = 0x1p-24f;

    // The bits of kWidth<float> blocks from `first` on; even and odd blocks share the 64-bit lanes.
    static OWL_INLINE void make(uint64_t first, uint64_t counter, const Key* keys, VecU32 bits[kWords]) {
        VecU64 even[kWords], odd[kWords];
        const VecU64 block = block_lanes(first, 2);
        philox(block, counter, keys[0], even);
        philox(block + 1, counter, keys[0], odd);
        for (int k = 0; k < kWords; ++k) bits[k] = (VecU32)((even[k] & 0xffffffffu) | (odd[k] << 32));
    }
    static OWL_INLINE VecF uniform(VecU32 bits) { return __builtin_convertvector((VecI32)(bits >> 8), VecF) * kUnit; }
    // In (0, 1], all 32 bits used, so that rare large normal numbers occur.
    static OWL_INLINE VecF positive(VecU32 bits) {
        const VecF low = __builtin_convertvector((VecI32)(bits & 255u), VecF);
        return uniform(bits) + (low + 0.5f) * 0x1p-32f;
    }
};

template <>
struct Drawn<double> {
    static constexpr int kKeys = 2;
    static constexpr double kUnit = 0x1p-53;

    static OWL_INLINE void make(uint64_t first, uint64_t counter, const Key* keys, VecU64 bits[kWords]) {
        VecU64 upper[kWords], lower[kWords];
        const VecU64 block = block_lanes(first, 1);
        philox(block, counter, keys[0], upper);
        philox(block, counter, keys[1], lower);
        for (int k = 0; k < kWords; ++k) bits[k] = (upper[k] << 32) | (lower[k] & 0xffffffffu);
    }
    // A whole number below 2^52 as the mantissa of 2^52 + it.
    static OWL_INLINE VecD small_to_double(VecU64 x) {
        return from_bits(x | as_bits(set1(Constants<double>::integer))) - Constants<double>::integer;
    }
    static OWL_INLINE VecD uniform(VecU64 bits) {
        return (small_to_double(bits >> 32) * 0x1p21 + small_to_double((bits >> 11) & 0x1fffffu)) * kUnit;
    }
    static OWL_INLINE VecD positive(VecU64 bits) {
        return uniform(bits) + (small_to_double(bits & 0x7ffu) + 0.5) * 0x1p-64;
    }
};

// sin(pi/2 t) / t and cos(pi/2 t) for |t| <= 1/2, as polynomials in z = t^2 (Taylor's, long enough for the type).
OWL_INLINE VecF sin_quarter(VecF z) {
    VecF p = set1(1.6044118478735982e-4f);
    p = fma(p, z, set1(-4.6817541353186881e-3f));
    p = fma(p, z, set1(7.9692626246167046e-2f));
    p = fma(p, z, set1(-6.4596409750624625e-1f));
    return fma(p, z, set1(1.5707963267948966f));
}
OWL_INLINE VecF cos_quarter(VecF z) {
    VecF p = set1(9.1926027483942659e-4f);
    p = fma(p, z, set1(-2.0863480763352961e-2f));
    p = fma(p, z, set1(2.5366950790104802e-1f));
    p = fma(p, z, set1(-1.2337005501361698f));
    return fma(p, z, set1(1.0f));
}
constexpr double kHalfPi = 1.5707963267948966;
// (pi/2)^n / n!, with alternating sign
constexpr double taylor(int n) {
    double c = 1;
    for (int i = 1; i <= n; ++i) c *= kHalfPi / i;
    return (n / 2) % 2 ? -c : c;
}
OWL_INLINE VecD sin_quarter(VecD z) {
    VecD p = set1(taylor(17));
    p = fma(p, z, set1(taylor(15)));
    p = fma(p, z, set1(taylor(13)));
    p = fma(p, z, set1(taylor(11)));
    p = fma(p, z, set1(taylor(9)));
    p = fma(p, z, set1(taylor(7)));
    p = fma(p, z, set1(taylor(5)));
    p = fma(p, z, set1(taylor(3)));
    return fma(p, z, set1(taylor(1)));
}
OWL_INLINE VecD cos_quarter(VecD z) {
    VecD p = set1(taylor(16));
    p = fma(p, z, set1(taylor(14)));
    p = fma(p, z, set1(taylor(12)));
    p = fma(p, z, set1(taylor(10)));
    p = fma(p, z, set1(taylor(8)));
    p = fma(p, z, set1(taylor(6)));
    p = fma(p, z, set1(taylor(4)));
    p = fma(p, z, set1(taylor(2)));
    return fma(p, z, set1(taylor(0)));
}

// Two independent standard normal numbers per lane.
template <class T, class U>
OWL_INLINE void box_muller(U radius_bits, U angle_bits, Vec<T>& first, Vec<T>& second) {
    const Vec<T> radius = sqrt(T(-2) * log(Drawn<T>::positive(radius_bits)));
    // The angle in quarter turns, as the nearest whole number n and the rest t in [-1/2, 1/2].
    const Vec<T> angle = T(4) * Drawn<T>::uniform(angle_bits);
    const Vec<T> n = (angle + Constants<T>::round) - Constants<T>::round;
    const Vec<T> t = angle - n, z = t * t;
    const Vec<T> s = t * sin_quarter(z), c = cos_quarter(z);
    const auto odd = mask_or(eq(n, set1(T(1))), eq(n, set1(T(3))));
    const auto lower = mask_or(eq(n, set1(T(2))), eq(n, set1(T(3))));  // the sine's sign
    const auto left = mask_or(eq(n, set1(T(1))), eq(n, set1(T(2))));   // the cosine's sign
    const Vec<T> cosine = select(odd, s, c), sine = select(odd, c, s);
    first = radius * select(left, -cosine, cosine);
    second = radius * select(lower, -sine, sine);
}

// The largest number below high, for the rare product that rounds up to it.
template <class T>
T below(T high, T low) {
    if (!(low < high)) return high;
    T x = high;
    if (high == 0) return -Constants<T>::smallest_normal;
    typename Simd<T>::UInt bits;
    memcpy(&bits, &x, sizeof x);
    bits = high > 0 ? bits - 1 : bits + 1;
    memcpy(&x, &bits, sizeof x);
    return x;
}

template <class T>
struct Draw {
    Distribution op;
    T p0, p1, top;
    uint64_t counter;
    Key key[Drawn<T>::kKeys];
    static constexpr int K = kWords;
    static constexpr int64_t kGroup = K * kGroupBlocks;

    explicit Draw(const RandomArgs& a)
        : op(a.op), p0(T(a.p0)), p1(T(a.p1)), top(below(p1, p0)), counter(a.counter) {
        for (int h = 0; h < Drawn<T>::kKeys; ++h) key[h] = make_key(a.seed, a.stream, uint32_t(h));
    }

    void group(int64_t g, T* y) const {
        for (int j = 0; j < kGroupBlocks; j += kWidth<T>) {
            typename Simd<T>::U bits[K];
            Drawn<T>::make(uint64_t(g) * kGroupBlocks + uint64_t(j), counter, key, bits);
            Vec<T> v[K];
            if (op == Distribution::normal) {
                for (int k = 0; k < K; k += 2) box_muller<T>(bits[k], bits[k + 1], v[k], v[k + 1]);
                for (int k = 0; k < K; ++k) v[k] = p0 + p1 * v[k];
            } else if (op == Distribution::bernoulli) {
                for (int k = 0; k < K; ++k) v[k] = mask_to_number<T>(lt(Drawn<T>::uniform(bits[k]), set1(p0)));
            } else {
                for (int k = 0; k < K; ++k) v[k] = min(p0 + (p1 - p0) * Drawn<T>::uniform(bits[k]), set1(top));
            }
            for (int k = 0; k < K; ++k) store(y + k * kGroupBlocks + j, v[k]);
        }
    }
};

template <class T>
void run_typed(const RandomArgs& a, int64_t begin, int64_t end) {
    const Draw<T> draw(a);
    T* y = static_cast<T*>(a.y);
    constexpr int64_t G = Draw<T>::kGroup;
    end = min64(a.size, end * kChunk);
    for (int64_t i = begin * kChunk; i < end; i += G) {
        if (i + G <= end) {
            draw.group(i / G, y + i);
        } else {
            T rest[G];
            draw.group(i / G, rest);
            memcpy(y + i, rest, size_t(end - i) * sizeof(T));
        }
    }
}

int64_t chunks(const RandomArgs& a) { return ceil_div(a.size, kChunk); }

void run(const RandomArgs& a, int64_t begin, int64_t end, void*) {
    by_dtype(a.dtype, [&](auto zero) { run_typed<decltype(zero)>(a, begin, end); });
}

}  // namespace

extern const Kernel random_kernel = OnePhaseKernel<RandomArgs, chunks, run>::named("random");

}  // namespace OWL_ISA
}  // namespace owl
