// Random numbers: a thread has a Philox block, four numbers that lie kGroupBlocks elements apart, so that neighboring threads
// write neighboring elements.
#define OWL_ISA cuda
#define OWL_SCALARS 1
#include "_cpu/kernels/random/distributions.h"
#include "_cpu/kernels/random/philox.h"
#include "args.h"
#include "simt.cuh"

namespace owl {
namespace cuda {

template <class Keys>
OWL_DEVICE void draw_words(int64_t block, uint64_t counter, Keys& keys, int half, uint32_t words[kWords]) {
    const uint64_t number = static_cast<uint64_t>(block);
    words[0] = static_cast<uint32_t>(number);
    words[1] = static_cast<uint32_t>(number >> 32);
    words[2] = static_cast<uint32_t>(counter);
    words[3] = static_cast<uint32_t>(counter >> 32);
    philox_words(words, keys[half]);
}

template <class Keys>
OWL_DEVICE void draw_bits(int64_t block, uint64_t counter, Keys& keys, uint32_t bits[kWords]) {
    draw_words(block, counter, keys, 0, bits);
}
template <class Keys>
OWL_DEVICE void draw_bits(int64_t block, uint64_t counter, Keys& keys, uint64_t bits[kWords]) {
    uint32_t upper[kWords], lower[kWords];
    draw_words(block, counter, keys, 0, upper);
    draw_words(block, counter, keys, 1, lower);
    for (int k = 0; k < kWords; ++k) bits[k] = static_cast<uint64_t>(upper[k]) << 32 | lower[k];
}

template <class T>
OWL_DEVICE void draw_numbers(const RandomLaunch& a) {
    constexpr int kKeys = sizeof(T) / sizeof(uint32_t);
    OWL_SHARED(uint64_t, keys, kKeys);
    // Once for all of the block's numbers, a thread for each key.
    OWL_THREADS(t) if (t < kKeys) keys[t] = stream_key(a.seed, a.stream, static_cast<uint32_t>(t));
    OWL_BARRIER();
    OWL_THREADS(t) {
        const T p0 = static_cast<T>(a.p0), p1 = static_cast<T>(a.p1), top = below(p1, p0);
        const int64_t blocks = (a.size + kGroupElements - 1) / kGroupElements * kGroupBlocks;
        const int64_t step = OWL_BLOCKS() * kRandomThreads;
        for (int64_t block = OWL_BLOCK() * kRandomThreads + t; block < blocks; block += step) {
            typename Bits<T>::UInt bits[kWords];
            draw_bits(block, a.counter, keys, bits);
            T y[kWords];
            if (a.distribution == Distribution::normal) {
                for (int k = 0; k < kWords; k += 2) box_muller(bits[k], bits[k + 1], y[k], y[k + 1]);
                for (int k = 0; k < kWords; ++k) y[k] = p0 + p1 * y[k];
            } else if (a.distribution == Distribution::bernoulli) {
                for (int k = 0; k < kWords; ++k) y[k] = mask_to_number<T>(lt(unit_number<T>(bits[k]), p0));
            } else {
                for (int k = 0; k < kWords; ++k) y[k] = min(p0 + (p1 - p0) * unit_number<T>(bits[k]), top);
            }
            const int64_t first = block / kGroupBlocks * kGroupElements + block % kGroupBlocks;
            for (int k = 0; k < kWords; ++k) {
                const int64_t at = first + k * kGroupBlocks;
                if (at < a.size) static_cast<T*>(a.y)[at] = y[k];
            }
        }
    }
}

}  // namespace cuda
}  // namespace owl

OWL_KERNEL(random_f32, owl::cuda::RandomLaunch) { owl::cuda::draw_numbers<float>(a); }
OWL_KERNEL(random_f64, owl::cuda::RandomLaunch) { owl::cuda::draw_numbers<double>(a); }
