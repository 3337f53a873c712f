// Random numbers: vectors of Philox blocks, and the numbers of a distribution made of them.
#include <stdint.h>
#include <string.h>

#include "_cpu/kernels/kernel_maker.h"
#include "distributions.h"
#include "philox.h"

namespace owl {
namespace OWL_ISA {
namespace {

constexpr int64_t kChunk = 16384;  // a multiple of the elements of a group
constexpr int kBlockLanes = kVectorBytes / 8;

struct Key {
    uint32_t round[kRounds][2];
};

Key make_key(uint64_t seed, uint64_t stream, uint32_t half) {
    const uint64_t words = stream_key(seed, stream, half);
    Key key;
    for (int r = 0; r < kRounds; ++r) {
        key.round[r][0] = uint32_t(words) + uint32_t(r) * kWeyl0;
        key.round[r][1] = uint32_t(words >> 32) + uint32_t(r) * kWeyl1;
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

// The bits of a vector's width of blocks from `first` on. Of floats, even and odd blocks share the 64-bit lanes.
OWL_INLINE void draw_bits(uint64_t first, uint64_t counter, const Key* keys, VecU32 bits[kWords]) {
    VecU64 even[kWords], odd[kWords];
    const VecU64 block = block_lanes(first, 2);
    philox(block, counter, keys[0], even);
    philox(block + 1, counter, keys[0], odd);
    for (int k = 0; k < kWords; ++k) bits[k] = (VecU32)((even[k] & 0xffffffffu) | (odd[k] << 32));
}
OWL_INLINE void draw_bits(uint64_t first, uint64_t counter, const Key* keys, VecU64 bits[kWords]) {
    VecU64 upper[kWords], lower[kWords];
    const VecU64 block = block_lanes(first, 1);
    philox(block, counter, keys[0], upper);
    philox(block, counter, keys[1], lower);
    for (int k = 0; k < kWords; ++k) bits[k] = (upper[k] << 32) | (lower[k] & 0xffffffffu);
}

template <class T>
struct Draw {
    using V = Vec<T>;
    Distribution op;
    T p0, p1;
    V top;
    uint64_t counter;
    Key key[sizeof(T) / sizeof(uint32_t)];

    explicit Draw(const RandomArgs& a)
        : op(a.op), p0(T(a.p0)), p1(T(a.p1)), top(below(set1(p1), set1(p0))), counter(a.counter) {
        uint32_t half = 0;
        for (Key& each : key) each = make_key(a.seed, a.stream, half++);
    }

    void group(int64_t g, T* y) const {
        for (int j = 0; j < kGroupBlocks; j += kWidth<T>) {
            typename Simd<T>::U bits[kWords];
            draw_bits(uint64_t(g) * kGroupBlocks + uint64_t(j), counter, key, bits);
            // Not a function in distributions.h: GCC would then load the normal distribution's constants for the others too.
            V v[kWords];
            if (op == Distribution::normal) {
                for (int k = 0; k < kWords; k += 2) box_muller(bits[k], bits[k + 1], v[k], v[k + 1]);
                for (int k = 0; k < kWords; ++k) v[k] = p0 + p1 * v[k];
            } else if (op == Distribution::bernoulli) {
                for (int k = 0; k < kWords; ++k) v[k] = mask_to_number<T>(lt(unit_number<V>(bits[k]), set1(p0)));
            } else {
                for (int k = 0; k < kWords; ++k) v[k] = min(p0 + (p1 - p0) * unit_number<V>(bits[k]), top);
            }
            for (int k = 0; k < kWords; ++k) store(y + k * kGroupBlocks + j, v[k]);
        }
    }
};

template <class T>
void run_typed(const RandomArgs& a, int64_t begin, int64_t end) {
    const Draw<T> draw(a);
    T* y = static_cast<T*>(a.y);
    constexpr int64_t G = kGroupElements;
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
