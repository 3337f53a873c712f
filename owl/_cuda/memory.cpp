#include "memory.h"

#include <cstring>

#include "_engine/memory/reserve.h"

namespace owl {
namespace cuda {
namespace {
constexpr unsigned kPortable = 1;  // CU_MEMHOSTALLOC_PORTABLE: pinned for all contexts
}

void* DeviceMemory::obtain(size_t bytes) {
    Address address = 0;
    if (device_.driver->allocate(&address, bytes)) {
        quarantine_.empty();  // then there is more to give back before the next try
        return nullptr;
    }
    return reinterpret_cast<void*>(address);
}

void DeviceMemory::give_back(void* data, size_t) {
    courier_.settle();
    device_.driver->free(reinterpret_cast<Address>(data));
}

std::string PinnedMemory::download(const Buffer* from, void* to, size_t bytes) {
    std::memcpy(to, from->data, bytes);
    return {};
}

void* PinnedMemory::obtain(size_t bytes) {
    if (forgotten_.load() || is_reserve_spent()) return nullptr;
    ContextGuard guard(device_);
    void* data = nullptr;
    if (!guard.is_current() || device_.driver->allocate_pinned(&data, bytes, kPortable)) return nullptr;
    return data;
}

void PinnedMemory::give_back(void* data, size_t) {
    if (forgotten_.load()) return;
    ContextGuard guard(device_);
    if (guard.is_current()) device_.driver->free_pinned(data);
}

}  // namespace cuda
}  // namespace owl
