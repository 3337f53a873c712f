// Buffers: counted pieces of memory. Several values may share one (reshape, copy), and a plan in flight holds those it uses.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace owl {

class Memory;
struct Block;

struct Buffer {
    std::atomic<int32_t> refs{1};
    void* data = nullptr;
    size_t bytes = 0;
    Memory* memory = nullptr;  // where it lies
    Block* block = nullptr;    // nullptr: borrowed from `owner`
    void* owner = nullptr;     // a PyObject that keeps borrowed memory alive, released by a Python thread

    Buffer* retain() {
        refs.fetch_add(1, std::memory_order_relaxed);
        return this;
    }
    // By any thread.
    void release();
    bool borrowed() const { return !block; }
    // The content has no reader but those `holders`, and it is ours to write.
    bool exclusive(int holders) const { return block && refs.load(std::memory_order_acquire) == holders; }
};

int64_t live_buffers();

}  // namespace owl
