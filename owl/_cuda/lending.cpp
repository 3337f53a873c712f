#include "lending.h"

#include <map>
#include <mutex>
#include <unordered_map>

#include "memory.h"

namespace owl {
namespace cuda {
namespace {

// Never destroyed: memory comes back at the end of a program as well. A fork keeps no other thread from the lock: those that lend
// and return have the GIL, and so has the thread that forks.
struct Lending {
    std::mutex mutex;
    std::map<int, DeviceMemory*> memories;
    std::unordered_map<void*, Buffer*> lent;
};
Lending& lending() {
    static auto* instance = new Lending;
    return *instance;
}

}  // namespace

void offer_to_lend(int index, DeviceMemory* memory) {
    std::lock_guard<std::mutex> guard(lending().mutex);
    lending().memories.emplace(index, memory);
}

void* lend_memory(void*, size_t bytes, int index) {
    DeviceMemory* memory;
    {
        std::lock_guard<std::mutex> guard(lending().mutex);
        const auto found = lending().memories.find(index);
        if (found == lending().memories.end()) return nullptr;
        memory = found->second;
    }
    Buffer* buffer = memory->lend(bytes);
    if (!buffer) return nullptr;
    std::lock_guard<std::mutex> guard(lending().mutex);
    lending().lent.emplace(buffer->data, buffer);
    return buffer->data;
}

void return_memory(void*, void* data, int) {
    Buffer* buffer;
    {
        std::lock_guard<std::mutex> guard(lending().mutex);
        const auto found = lending().lent.find(data);
        if (found == lending().lent.end()) return;
        buffer = found->second;
        lending().lent.erase(found);
    }
    buffer->memory->end_export(buffer);
}

}  // namespace cuda
}  // namespace owl
