#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "deferred.h"
#include "reserve.h"
#include "small_blocks.h"

namespace owl {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = 2u << 20;
constexpr size_t kSlack = 64u << 20;  // small programs may keep this much more
std::atomic<int64_t> buffers{0};

struct Memories {
    std::mutex mutex;
    std::vector<Memory*> all;
    int made = 0;
};
Memories& memories() {
    static auto* instance = new Memories;
    return *instance;
}

// Eight classes to a doubling: at most an eighth is wasted, and arrays that differ by little share blocks.
size_t round_up(size_t bytes, int* size_class) {
    if (bytes <= 8 * kAlignment) {
        const size_t units = bytes ? (bytes + kAlignment - 1) / kAlignment : 1;
        *size_class = static_cast<int>(units);
        return units * kAlignment;
    }
    int exponent = 63 - __builtin_clzll(bytes - 1);
    const size_t step = size_t{1} << (exponent - 3);
    const size_t rounded = (bytes + step - 1) / step * step;
    exponent = 63 - __builtin_clzll(rounded);
    *size_class = 8 + (exponent - 9) * 8 + static_cast<int>((rounded >> (exponent - 3)) & 7);
    return rounded;
}

class HostMemory final : public Memory {
   public:
    HostMemory() : Memory(true, machine_memory(), true) {}
    std::string download(const Buffer* from, void* to, size_t bytes) override {
        std::memcpy(to, from->data, bytes);
        return {};
    }

   private:
    void* obtain(size_t bytes) override {
        if (is_reserve_spent()) return nullptr;  // what is left is for the failures that tell of it
        if (bytes <= kMostSmall) return allocate_small(bytes);
        void* data = nullptr;
        const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
        if (posix_memalign(&data, alignment, bytes)) return nullptr;
#ifdef __linux__
        // Large arrays walk thousands of small pages otherwise: the matrix product then waits for address translation.
        if (bytes >= kHugePage) madvise(data, bytes, MADV_HUGEPAGE);
#endif
        return data;
    }
    void give_back(void* data, size_t bytes) override { bytes <= kMostSmall ? free_small(data) : std::free(data); }
};

}  // namespace

size_t machine_memory() {
    static const size_t bytes = [] {
        const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGE_SIZE);
        return pages > 0 && size > 0 ? size_t(pages) * size_t(size) : size_t{4} << 30;
    }();
    return bytes;
}

void Buffer::release() {
    if (refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    buffers.fetch_sub(1, std::memory_order_relaxed);
    if (block) return memory->recycle(block);  // this lies in it
    if (owner) defer_release(owner);
    delete this;
}

int64_t live_buffers() { return buffers.load(std::memory_order_relaxed); }

namespace {
int add_memory(Memory* memory) {
    std::lock_guard<std::mutex> guard(memories().mutex);
    memories().all.push_back(memory);
    return memories().made++;
}
}  // namespace

Memory::Memory(bool is_host, size_t total, bool any_thread_drops)
    : host(is_host), number(add_memory(this)), total_(total), any_thread_drops_(any_thread_drops) {}

Memory::~Memory() {
    std::lock_guard<std::mutex> guard(memories().mutex);
    auto& all = memories().all;
    all.erase(std::find(all.begin(), all.end(), this));
}

void Memory::keep(Block* block) {
    Block*& alike = free_[block->size_class];
    block->older = newest_;
    block->newer = nullptr;
    (newest_ ? newest_->newer : oldest_) = block;
    newest_ = block;
    block->older_alike = alike;
    block->newer_alike = nullptr;
    if (alike) alike->newer_alike = block;
    alike = block;
    cached_ += block->capacity;
}

void Memory::take(Block* block) {
    (block->older ? block->older->newer : oldest_) = block->newer;
    (block->newer ? block->newer->older : newest_) = block->older;
    if (block->older_alike) block->older_alike->newer_alike = block->newer_alike;
    (block->newer_alike ? block->newer_alike->older_alike : free_[block->size_class]) = block->older_alike;
    cached_ -= block->capacity;
}

// Twice what the program once needed at the same time: a program that goes through arrays of several sizes holds few of
// them at once, but asks for all of them again in its next step. What takes much of the place is not held twice.
size_t Memory::most_held() const {
    const size_t twice = 2 * peak_ + kSlack;
    const size_t most = std::max(peak_, std::min(twice, total_ / 2));
    return limit_ ? std::min(limit_, most) : most;
}

// Sizes that a program has turned away from make room for those that it uses now. What goes is linked by `older`.
Block* Memory::drop_beyond(size_t held) {
    Block* dropped = nullptr;
    while (oldest_ && in_use_ + cached_ > held) {
        Block* block = oldest_;
        take(block);
        block->older = dropped;
        dropped = block;
    }
    return dropped;
}

// Without the lock: the system takes its time.
void Memory::give_back_all(Block* dropped) {
    while (dropped) {
        Block* next = dropped->older;
        give_back(dropped->data, dropped->capacity);
        delete dropped;
        dropped = next;
    }
}

Block* Memory::find_free(int size_class, bool at_rest) const {
    Block* block = free_[size_class];
    while (at_rest && block && !is_over(block->freed_at)) block = block->older_alike;
    return block;
}

Buffer* Memory::allocate(size_t bytes, bool at_rest) {
    if (bytes > (size_t{1} << 46)) return nullptr;
    int size_class;
    const size_t capacity = round_up(bytes, &size_class);
    Block* block;
    Block* dropped = nullptr;
    {
        std::lock_guard<std::mutex> guard(mutex_);
        if (limit_ && in_use_ + capacity > limit_) return nullptr;
        block = find_free(size_class, at_rest);
        if (block) take(block);
        in_use_ += capacity;
        if (block) peak_ = std::max(peak_, in_use_);
        else dropped = drop_beyond(std::max(most_held(), in_use_));
    }
    if (!block) {
        give_back_all(dropped);
        void* data = obtain(capacity);
        if (!data) {
            drop_cached();
            data = obtain(capacity);
        }
        if (data) block = new (std::nothrow) Block(data, capacity, size_class);
        if (data && !block) give_back(data, capacity);
        std::lock_guard<std::mutex> guard(mutex_);
        if (!block) {
            in_use_ -= capacity;
            return nullptr;
        }
        peak_ = std::max(peak_, in_use_);
    }
    auto* buffer = new (&block->buffer) Buffer;
    buffer->data = block->data;
    buffer->bytes = bytes;
    buffer->memory = this;
    buffer->block = block;
    buffers.fetch_add(1, std::memory_order_relaxed);
    return buffer;
}

void Memory::recycle(Block* block) {
    if (!host) on_freed(block->data, block->capacity);
    Block* dropped = nullptr;
    {
        std::lock_guard<std::mutex> guard(mutex_);
        in_use_ -= block->capacity;
        if (!host) block->freed_at = issued();
        keep(block);
        // Any thread frees; only some may talk to a device's driver, so there the next allocation drops.
        if (any_thread_drops_) dropped = drop_beyond(most_held());
    }
    give_back_all(dropped);
}

void Memory::drop_cached() {
    Block* dropped;
    {
        std::lock_guard<std::mutex> guard(mutex_);
        dropped = drop_beyond(0);
    }
    give_back_all(dropped);
}

void Memory::trim() {
    drop_cached();
    std::lock_guard<std::mutex> guard(mutex_);
    peak_ = in_use_;
}

void Memory::set_limit(size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex_);
    limit_ = bytes;
}

MemoryInfo Memory::info() {
    std::lock_guard<std::mutex> guard(mutex_);
    return {in_use_, cached_, limit_, peak_};
}

Buffer* borrow(void* data, size_t bytes, void* owner, Memory* memory) {
    auto* buffer = new Buffer;
    buffer->data = data;
    buffer->bytes = bytes;
    buffer->memory = memory;
    buffer->owner = owner;
    buffers.fetch_add(1, std::memory_order_relaxed);
    return buffer;
}

Memory& host_memory() {
    static auto* memory = new HostMemory;
    return *memory;
}

size_t bytes_in_use() {
    std::lock_guard<std::mutex> guard(memories().mutex);
    size_t bytes = 0;
    for (Memory* memory : memories().all) bytes += memory->info().in_use;
    return bytes;
}

void lock_memory_for_fork() {
    lock_deferred_for_fork();
    memories().mutex.lock();
    for (Memory* memory : memories().all) memory->lock_for_fork();
    lock_small_blocks_for_fork();
}

void unlock_memory_after_fork() {
    unlock_small_blocks_after_fork();
    for (Memory* memory : memories().all) memory->unlock_after_fork();
    memories().mutex.unlock();
    unlock_deferred_after_fork();
}

}  // namespace owl
