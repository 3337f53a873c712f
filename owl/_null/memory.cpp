#include "memory.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "_engine/memory/reserve.h"

namespace owl {
namespace {
// The upper bits of an address are all equal on x86-64 and AArch64, so with this added none is left that could be mapped.
constexpr uintptr_t kNoAddress = uintptr_t{1} << 60;
}  // namespace

char* RemoteMemory::real(const void* data) { return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(data) - kNoAddress); }

std::string RemoteMemory::download(const Buffer* from, void* to, size_t bytes) {
    std::memcpy(to, real(from->data), bytes);
    return {};
}

void* RemoteMemory::obtain(size_t bytes) {
    void* data = nullptr;
    if (is_reserve_spent() || posix_memalign(&data, 64, bytes)) return nullptr;
    return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(data) + kNoAddress);
}

void RemoteMemory::give_back(void* data, size_t) {
    stream_.push([address = real(data)] { std::free(address); });
}

void RemoteMemory::on_freed([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#if OWL_DEBUG
    stream_.push([address = real(data), bytes] { std::memset(address, 0xFF, bytes); });
#endif
}

}  // namespace owl
