// NVIDIA's driver, opened when the first GPU is asked for: owl builds and runs where there is none. No function here takes the GIL.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace owl {
namespace cuda {

// As cuda.h has them; its header is not needed to build owl.
using Result = int;
using Address = unsigned long long;  // of a device's memory
using Context = struct CUctx_st*;
using Stream = struct CUstream_st*;
using Event = struct CUevent_st*;
using Function = struct CUfunc_st*;
using Graph = struct CUgraph_st*;
using GraphNode = struct CUgraphNode_st*;
using GraphExec = struct CUgraphExec_st*;

// CUDA_KERNEL_NODE_PARAMS in its second version.
struct KernelNodeParameters {
    Function function;
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
    void** parameters;
    void** extra;
    struct CUkern_st* kernel;  // null: `function` is given
    Context context;           // null: the current one
};

constexpr Result kSuccess = 0, kOutOfMemory = 2, kNotReady = 600;

struct Driver {
#define OWL_DRIVER(name, symbol, parameters) Result (*name) parameters = nullptr;
#include "driver.def"
#undef OWL_DRIVER

    // Of a driver for tests, which checks orders: the host reads or writes pinned memory. nullptr on any other.
    void (*host_access)(const void* data, size_t bytes, int written) = nullptr;

    // CUDA's words for an error, such as "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered".
    std::string describe(Result error) const;
};

// The driver of that library, such as "libcuda.so.1"; later calls return the first one's. nullptr where it cannot be opened or
// lacks a function: `error` says which.
const Driver* load_driver(const char* library, std::string* error);

}  // namespace cuda
}  // namespace owl
