// Philox 4x32-10, and how random numbers come from it: each element depends on (seed, stream, counter) and its index alone.
//
// Key h is the first two words of Philox(counter = stream as two words, h, 0; key = seed as two words), low words
// first. Block b is Philox(counter = b as two words, draw counter as two words; a key): four words w0 … w3. Block
// b = 16 g + j gives word k to element 64 g + 16 k + j: of key 0 the element's upper bits, and for f64 of key 1 as many
// lower ones, so that both dtypes draw the same numbers but for rounding. distributions.h makes numbers of the bits.
#pragma once
#include <stdint.h>

#include "_cpu/kernels/arithmetic.h"

namespace owl {
namespace OWL_ISA {

constexpr uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
constexpr int kRounds = 10;
constexpr int kWords = 4;  // of a block
constexpr int kGroupBlocks = 16;
constexpr int kGroupElements = kWords * kGroupBlocks;

OWL_INLINE void philox_words(uint32_t w[kWords], uint64_t key) {
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

// Key `half` of a stream of random numbers.
OWL_INLINE uint64_t stream_key(uint64_t seed, uint64_t stream, uint32_t half) {
    uint32_t w[kWords] = {uint32_t(stream), uint32_t(stream >> 32), half, 0};
    philox_words(w, seed);
    return w[0] | uint64_t(w[1]) << 32;
}

}  // namespace OWL_ISA
}  // namespace owl
