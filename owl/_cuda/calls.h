// What a step of a CUDA plan does: launches of kernels with one set of arguments, or a copy between memories.
#pragma once
#include <cstdint>
#include <memory>

namespace owl {
namespace cuda {

class Specialization;

enum class Kernel : uint16_t {
#define OWL_CUDA_KERNEL(name, Args, threads) name,
#include "kernels/catalogue.def"
#undef OWL_CUDA_KERNEL
    count_
};

struct Launch {
    Kernel kernel;
    uint32_t blocks;
};

enum class CallKind : uint8_t { launch, copy, product, missing };  // product: by cuBLAS; missing: there is no kernel yet

struct Call {
    CallKind kind = CallKind::launch;
    uint8_t n_launches = 0;
    Launch launches[2];  // one after the other
    std::shared_ptr<Specialization> specialization;  // of the first launch, where it runs a program of its own
};

// The arguments of a copy.
struct Transfer {
    const void* from;
    void* to;
    uint64_t bytes;
    int32_t from_memory, to_memory;  // by their numbers
};

}  // namespace cuda
}  // namespace owl
