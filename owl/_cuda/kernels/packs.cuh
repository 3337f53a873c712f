// Loads and stores of several neighbors in memory by one instruction.
#pragma once
#include "simt.cuh"

namespace owl {
namespace cuda {

// Neighbors in memory, which one instruction loads or stores.
template <class Stored, int n>
struct alignas(n * sizeof(Stored) < 16 ? n * sizeof(Stored) : 16) Pack {
    Stored value[n];
};

OWL_DEVICE bool is_aligned(const void* data, size_t bytes = 16) { return reinterpret_cast<size_t>(data) % bytes == 0; }

// A GPU faults where the address is no multiple of the pack's alignment.
template <class Stored, int n>
OWL_DEVICE Pack<Stored, n>* pack_at(const void* data, int64_t at) {
    auto* pack = reinterpret_cast<Pack<Stored, n>*>(static_cast<Stored*>(const_cast<void*>(data)) + at);
#ifndef __CUDACC__
    if (reinterpret_cast<size_t>(pack) % alignof(Pack<Stored, n>)) throw simt::Race("a misaligned address");
#endif
    return pack;
}

}  // namespace cuda
}  // namespace owl
