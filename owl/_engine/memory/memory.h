// Buffers and the pool they come from.
//
// A training step asks for the same sizes again and again, and fresh pages from malloc cost more than the arithmetic on
// them, so freed blocks are kept by size class. Buffers are counted: several values may share one (reshape, copy), and a
// plan in flight holds those it uses.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace owl {

class MemoryPool;

struct Buffer {
    std::atomic<int32_t> refs{1};
    std::atomic<int32_t> exports{0};  // handed to other libraries: read-only until they let go
    void* data = nullptr;
    size_t bytes = 0;
    size_t capacity = 0;
    MemoryPool* pool = nullptr;  // nullptr: borrowed from `owner`
    void* owner = nullptr;       // a PyObject that keeps borrowed memory alive, released by a Python thread

    Buffer* retain() {
        refs.fetch_add(1, std::memory_order_relaxed);
        return this;
    }
    void release();
    // The content has no other reader, and it is ours to write.
    bool exclusive() const {
        return pool && refs.load(std::memory_order_acquire) == 1 && exports.load(std::memory_order_acquire) == 0;
    }
};

size_t machine_memory();  // bytes; 4 GiB where the system does not tell

struct MemoryInfo {
    size_t in_use, cached, limit, peak;
};

class MemoryPool {
   public:
    // nullptr if the limit or the system refuses.
    Buffer* allocate(size_t bytes);
    MemoryInfo info();
    void set_limit(size_t bytes);  // 0: none
    void trim();                   // gives cached blocks back to the system
    void drop_cached();            // likewise, and remembers how much was needed
    void lock_for_fork() { mutex_.lock(); }
    void unlock_after_fork() { mutex_.unlock(); }

   private:
    friend struct Buffer;
    void recycle(void* data, size_t capacity);
    static size_t round_up(size_t bytes, int* size_class);
    struct FreeBlock;
    void keep(FreeBlock* block, int size_class);
    void take(FreeBlock* block, int size_class);
    size_t most_held() const;
    FreeBlock* drop_beyond(size_t held);
    static void give_back(FreeBlock* dropped);

    static constexpr int kClasses = 512;
    std::mutex mutex_;
    FreeBlock* free_[kClasses] = {};  // of each size the one given back last, which is taken next
    FreeBlock *oldest_ = nullptr, *newest_ = nullptr;
    size_t in_use_ = 0, cached_ = 0, peak_ = 0;
    size_t limit_ = 0;
};

// Memory that has another owner; `owner` is handed to defer_release when the last reader is done.
Buffer* borrow(void* data, size_t bytes, void* owner);

// Memory put by for what must not fail half-way. Where the system refuses a small allocation of C++, the reserve is given
// up so that what has begun can end; nothing new is recorded until the reserve is whole again.
extern std::atomic<bool> reserve_spent;
inline bool is_reserve_spent() { return reserve_spent.load(std::memory_order_relaxed); }
bool refill_reserve();  // false if there is no memory for it

// Host memory, shared by all CPU devices.
MemoryPool& host_memory();
int64_t live_buffers();

// Python objects that native threads have let go of; the next owl call with the GIL drops them.
void defer_release(void* object);
std::vector<void*> take_deferred_releases();
extern std::atomic<bool> any_deferred_release;
inline bool has_deferred_releases() { return any_deferred_release.load(std::memory_order_acquire); }
void lock_memory_for_fork();
void unlock_memory_after_fork();

}  // namespace owl
