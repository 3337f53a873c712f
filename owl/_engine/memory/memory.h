// Memory of one kind of place: the host's, which all CPU devices share, or a device's own.
//
// A training step asks for the same sizes again and again, and fresh pages from the system cost more than the arithmetic on
// them, so freed blocks are kept by size class. What is known of a block lies outside it, since the host cannot always
// read what lies in it.
#pragma once
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "buffer.h"
#include "small_blocks.h"

namespace owl {

size_t machine_memory();  // bytes; 4 GiB where the system does not tell

struct MemoryInfo {
    size_t in_use, cached, limit, peak;
};

// What is known of a piece of memory that the system gave. It is in use, or free and in two lists.
struct Block {
    void* data;
    size_t capacity;
    int size_class;
    Block *older = nullptr, *newer = nullptr;              // of all that are free
    Block *older_alike = nullptr, *newer_alike = nullptr;  // of its size
    // Of a device that computes later than it is told to: what had been issued when the block was freed, and the last copy
    // that fills it beside the order of computing.
    uint64_t freed_at = 0, filled_by = 0;
    Buffer buffer;  // while the block is in use

    Block(void* memory, size_t bytes, int of_class) : data(memory), capacity(bytes), size_class(of_class) {}
    static void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return allocate_small(bytes); }
    static void operator delete(void* block) noexcept { free_small(block); }
};
static_assert(sizeof(Block) <= kMostSmall, "blocks are small");

class Memory {
   public:
    const bool host;   // a CPU may read and write it where it lies
    const int number;  // in the order of making; the host's is 0

    virtual ~Memory();  // once no buffer is left
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    // nullptr if the limit or the system refuses. `at_rest`: memory that nothing issued before still reads or writes.
    Buffer* allocate(size_t bytes, bool at_rest = false);
    MemoryInfo info();
    void set_limit(size_t bytes);  // 0: none
    virtual void trim();           // gives cached blocks back to the system
    void drop_cached();            // likewise, and remembers how much was needed
    void lock_for_fork() { mutex_.lock(); }
    void unlock_after_fork() { mutex_.unlock(); }

    // Copies what a value holds to the host's memory, by any thread, which waits. Of the host's own it is a plain copy.
    // Returns why it could not be; nothing if it was.
    virtual std::string download(const Buffer* from, void* to, size_t bytes) = 0;
    // Another library has let go of a value, by any thread, in a forked child and at exit as well; takes over the reference.
    // What that library has queued on a device may still read the value: then the memory is kept until that is over.
    virtual void end_export(Buffer* buffer) { buffer->release(); }
    // Returns when the memory of all values that were exported until now can be used again.
    virtual void settle_exports() {}
    size_t total() const { return total_; }

   protected:
    // `total`: bytes of the place. `any_thread_drops`: what is beyond bounds goes back where it is freed, by whatever thread.
    Memory(bool is_host, size_t total, bool any_thread_drops);
    // From the system and back to it, without the lock. nullptr where it refuses.
    virtual void* obtain(size_t bytes) = 0;
    virtual void give_back(void* data, size_t bytes) = 0;
    // A block of another memory than the host's was freed, by any thread, and may be handed out again.
    virtual void on_freed(void* /*data*/, size_t /*bytes*/) {}
    // Counts what was issued, and tells whether all up to a number is over. By any thread.
    virtual uint64_t issued() const { return 0; }
    virtual bool is_over(uint64_t /*issued*/) const { return true; }

   private:
    friend struct Buffer;
    Block* find_free(int size_class, bool at_rest) const;
    void recycle(Block* block);
    void keep(Block* block);
    void take(Block* block);
    size_t most_held() const;
    Block* drop_beyond(size_t held);
    void give_back_all(Block* dropped);

    static constexpr int kClasses = 512;
    const size_t total_;
    const bool any_thread_drops_;
    std::mutex mutex_;
    Block* free_[kClasses] = {};  // of each size the one given back last, which is taken next
    Block *oldest_ = nullptr, *newest_ = nullptr;
    size_t in_use_ = 0, cached_ = 0, peak_ = 0;
    size_t limit_ = 0;
};

// Never destroyed: threads may outlive static destructors.
Memory& host_memory();

// Memory that has another owner; `owner` is handed to defer_release when the last reader is done.
Buffer* borrow(void* data, size_t bytes, void* owner, Memory* memory = &host_memory());

// Of all memories together.
size_t bytes_in_use();
void lock_memory_for_fork();
void unlock_memory_after_fork();

}  // namespace owl
