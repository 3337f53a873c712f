// How many threads a block of each kernel has.
#pragma once
#include "calls.h"
#include "kernels/args.h"

namespace owl {
namespace cuda {

inline unsigned block_size(Kernel kernel) {
    static const int threads_of[] = {
#define OWL_CUDA_KERNEL(name, Args, threads) threads,
#include "kernels/catalogue.def"
#undef OWL_CUDA_KERNEL
    };
    return static_cast<unsigned>(threads_of[static_cast<size_t>(kernel)]);
}

}  // namespace cuda
}  // namespace owl
