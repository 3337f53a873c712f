// Memory of owl's devices for the arrays of another library, by functions of the kind that CuPy's CFunctionAllocator takes.
#pragma once
#include <cstddef>

namespace owl {
namespace cuda {

class DeviceMemory;

// The first memory of a GPU that is offered is lent from.
void offer_to_lend(int index, DeviceMemory* memory);

// CUDA's number of a GPU; the parameter is not used. nullptr where no memory of that GPU was offered, or none is left. The
// caller waits for the device's executor. Memory that is given back is used again when all that was queued on the GPU is over.
void* lend_memory(void* parameter, size_t bytes, int index);
void return_memory(void* parameter, void* data, int index);

}  // namespace cuda
}  // namespace owl
