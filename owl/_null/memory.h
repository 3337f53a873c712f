// The memory of a remote device.
#pragma once
#include "_engine/memory/memory.h"
#include "stream.h"

namespace owl {

class RemoteMemory final : public Memory {
   public:
    explicit RemoteMemory(Stream* stream) : Memory(false, machine_memory(), false), stream_(*stream) {}

    // Where a buffer of this memory really lies.
    static char* real(const void* data);
    std::string download(const Buffer* from, void* to, size_t bytes) override;

   private:
    void* obtain(size_t bytes) override;
    void give_back(void* data, size_t bytes) override;
    void on_freed(void* data, size_t bytes) override;

    Stream& stream_;  // may still work on memory that was freed
};

}  // namespace owl
