// Whole numbers for positions in arrays, which may have more than 2^31 elements.
#pragma once
#include "args.h"
#include "simt.cuh"

namespace owl {
namespace cuda {

// Of numbers that are not negative. A division of 64 bits takes a GPU several times as long as one of 32.
OWL_DEVICE int64_t quotient(int64_t a, int64_t b) {
    if ((a | b) >> 32) return a / b;
    return static_cast<int64_t>(static_cast<uint32_t>(a) / static_cast<uint32_t>(b));
}

// Takes the digit of that base from the front of `rest`, the fastest one.
OWL_DEVICE int64_t take_digit(int64_t& rest, int64_t base) {
    const int64_t before = rest;
    rest = quotient(before, base);
    return before - rest * base;
}

OWL_DEVICE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
OWL_DEVICE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
OWL_DEVICE int64_t tiles_of(int64_t n, int64_t tile) { return quotient(n + tile - 1, tile); }

constexpr int64_t kFarAway = -(int64_t{1} << 60);  // inside of nothing, whatever is added to it

// Does a place, perhaps a negative one, lie in [0, n)?
OWL_DEVICE bool inside(int64_t place, int64_t n) { return static_cast<uint64_t>(place) < static_cast<uint64_t>(n); }

// Where the description of a convolution's product or position is in shared memory, which has room for 2 * kConvDescribed.
OWL_DEVICE int ring_place(int64_t item) { return static_cast<int>(item) & (2 * kConvDescribed - 1); }

}  // namespace cuda
}  // namespace owl
