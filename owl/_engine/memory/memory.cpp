#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#ifdef __linux__
#include <malloc.h>
#endif

namespace owl {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = 2u << 20;
constexpr size_t kSlack = 64u << 20;  // small programs may keep this much more
std::atomic<int64_t> buffers{0};

struct Deferred {
    std::mutex mutex;
    std::vector<void*> objects;
};
Deferred& deferred() {
    static auto* instance = new Deferred;
    return *instance;
}

void* system_allocate(size_t bytes) {
    if (is_reserve_spent()) return nullptr;  // what is left is for the failures that tell of it
    void* data = nullptr;
    const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
    if (posix_memalign(&data, alignment, bytes)) return nullptr;
#ifdef __linux__
    // Large arrays walk thousands of small pages otherwise: the matrix product then waits for address translation.
    if (bytes >= kHugePage) madvise(data, bytes, MADV_HUGEPAGE);
#endif
    return data;
}

}  // namespace

size_t machine_memory() {
    static const size_t bytes = [] {
        const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGE_SIZE);
        return pages > 0 && size > 0 ? size_t(pages) * size_t(size) : size_t{4} << 30;
    }();
    return bytes;
}

std::atomic<bool> any_deferred_release{false};

void Buffer::release() {
    if (refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (pool)
        pool->recycle(data, capacity);
    else if (owner)
        defer_release(owner);
    buffers.fetch_sub(1, std::memory_order_relaxed);
    delete this;
}

// Eight classes to a doubling: at most an eighth is wasted, and arrays that differ by little share blocks.
size_t MemoryPool::round_up(size_t bytes, int* size_class) {
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

// Lies in the very block that is free.
struct MemoryPool::FreeBlock {
    size_t capacity;
    FreeBlock *older, *newer;              // of all
    FreeBlock *older_alike, *newer_alike;  // of its size
};

void MemoryPool::keep(FreeBlock* block, int size_class) {
    static_assert(sizeof(FreeBlock) <= kAlignment, "the smallest block holds it");
    block->older = newest_;
    block->newer = nullptr;
    (newest_ ? newest_->newer : oldest_) = block;
    newest_ = block;
    block->older_alike = free_[size_class];
    block->newer_alike = nullptr;
    if (free_[size_class]) free_[size_class]->newer_alike = block;
    free_[size_class] = block;
    cached_ += block->capacity;
}

void MemoryPool::take(FreeBlock* block, int size_class) {
    (block->older ? block->older->newer : oldest_) = block->newer;
    (block->newer ? block->newer->older : newest_) = block->older;
    if (block->older_alike) block->older_alike->newer_alike = block->newer_alike;
    (block->newer_alike ? block->newer_alike->older_alike : free_[size_class]) = block->older_alike;
    cached_ -= block->capacity;
}

// Twice what the program once needed at the same time: a program that goes through arrays of several sizes holds few of
// them at once, but asks for all of them again in its next step. What takes much of the machine is not held twice.
size_t MemoryPool::most_held() const {
    static const size_t half_of_machine = machine_memory() / 2;
    const size_t twice = 2 * peak_ + kSlack;
    const size_t most = std::max(peak_, std::min(twice, half_of_machine));
    return limit_ ? std::min(limit_, most) : most;
}

// Sizes that a program has turned away from make room for those that it uses now. What goes is linked by `older`.
MemoryPool::FreeBlock* MemoryPool::drop_beyond(size_t held) {
    FreeBlock* dropped = nullptr;
    while (oldest_ && in_use_ + cached_ > held) {
        FreeBlock* block = oldest_;
        int size_class;
        round_up(block->capacity, &size_class);
        take(block, size_class);
        block->older = dropped;
        dropped = block;
    }
    return dropped;
}

// Without the lock: the system takes its time.
void MemoryPool::give_back(FreeBlock* dropped) {
    while (dropped) {
        FreeBlock* next = dropped->older;
        std::free(dropped);
        dropped = next;
    }
}

Buffer* MemoryPool::allocate(size_t bytes) {
    int size_class;
    if (bytes > (size_t{1} << 46)) return nullptr;
    const size_t capacity = round_up(bytes, &size_class);
    void* data = nullptr;
    FreeBlock* dropped = nullptr;
    {
        std::lock_guard<std::mutex> guard(mutex_);
        if (limit_ && in_use_ + capacity > limit_) return nullptr;
        if (FreeBlock* block = free_[size_class]) {
            take(block, size_class);
            data = block;
        }
        in_use_ += capacity;
        if (data) peak_ = std::max(peak_, in_use_);
        else dropped = drop_beyond(std::max(most_held(), in_use_));
    }
    if (!data) {
        give_back(dropped);
        data = system_allocate(capacity);
        if (!data) {
            drop_cached();
            data = system_allocate(capacity);
        }
        std::lock_guard<std::mutex> guard(mutex_);
        if (!data) {
            in_use_ -= capacity;
            return nullptr;
        }
        peak_ = std::max(peak_, in_use_);
    }
    auto* buffer = new Buffer;
    buffer->data = data;
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    buffer->pool = this;
    buffers.fetch_add(1, std::memory_order_relaxed);
    return buffer;
}

void MemoryPool::recycle(void* data, size_t capacity) {
    int size_class;
    round_up(capacity, &size_class);
    auto* block = static_cast<FreeBlock*>(data);
    block->capacity = capacity;
    FreeBlock* dropped;
    {
        std::lock_guard<std::mutex> guard(mutex_);
        in_use_ -= capacity;
        keep(block, size_class);
        dropped = drop_beyond(most_held());
    }
    give_back(dropped);
}

void MemoryPool::drop_cached() {
    FreeBlock* dropped;
    {
        std::lock_guard<std::mutex> guard(mutex_);
        dropped = drop_beyond(0);
    }
    give_back(dropped);
}

void MemoryPool::trim() {
    drop_cached();
    std::lock_guard<std::mutex> guard(mutex_);
    peak_ = in_use_;
}

void MemoryPool::set_limit(size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex_);
    limit_ = bytes;
}

MemoryInfo MemoryPool::info() {
    std::lock_guard<std::mutex> guard(mutex_);
    return {in_use_, cached_, limit_, peak_};
}

Buffer* borrow(void* data, size_t bytes, void* owner) {
    auto* buffer = new Buffer;
    buffer->data = data;
    buffer->bytes = buffer->capacity = bytes;
    buffer->owner = owner;
    buffers.fetch_add(1, std::memory_order_relaxed);
    return buffer;
}

MemoryPool& host_memory() {
    static auto* pool = new MemoryPool;  // never destroyed: executor threads may outlive static destructors
    return *pool;
}

namespace {

// Blocks of addresses only, until one is needed. So many, because a thread other than the first gets a page for each small
// block once its share of the heap is full.
constexpr int kReserveBlocks = 16, kLeastReserve = 12;
constexpr size_t kReserveBlock = 4u << 20;
std::atomic<void*> reserve[kReserveBlocks];
std::new_handler former_handler = nullptr;

// Not from the heap, which would keep them for itself.
void* map_block() {
    void* block = mmap(nullptr, kReserveBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return block == MAP_FAILED ? nullptr : block;
}
void unmap_block(void* block) { munmap(block, kReserveBlock); }

void spend_reserve() {
    reserve_spent.store(true, std::memory_order_relaxed);
    for (std::atomic<void*>& block : reserve) {
        if (void* memory = block.exchange(nullptr)) {
            unmap_block(memory);
            return;
        }
    }
    if (!former_handler) throw std::bad_alloc();
    former_handler();
}

int fill_reserve() {
    int blocks = 0;
    for (std::atomic<void*>& block : reserve) {
        void* memory = block.load() ? nullptr : map_block();
        void* none = nullptr;
        if (memory && !block.compare_exchange_strong(none, memory)) unmap_block(memory);
        blocks += block.load() != nullptr;
    }
    return blocks;
}

const bool reserve_is_laid_up = [] {
    fill_reserve();
    former_handler = std::set_new_handler(spend_reserve);
    return true;
}();

}  // namespace

std::atomic<bool> reserve_spent{false};

bool refill_reserve() {
    host_memory().drop_cached();
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    if (fill_reserve() < kLeastReserve) return false;
    reserve_spent.store(false, std::memory_order_relaxed);
    return true;
}

int64_t live_buffers() { return buffers.load(std::memory_order_relaxed); }

void defer_release(void* object) {
    auto& queue = deferred();
    std::lock_guard<std::mutex> guard(queue.mutex);
    queue.objects.push_back(object);
    any_deferred_release.store(true, std::memory_order_release);
}


std::vector<void*> take_deferred_releases() {
    auto& queue = deferred();
    std::lock_guard<std::mutex> guard(queue.mutex);
    std::vector<void*> taken;
    taken.swap(queue.objects);
    any_deferred_release.store(false, std::memory_order_release);
    return taken;
}

void lock_memory_for_fork() {
    deferred().mutex.lock();
    host_memory().lock_for_fork();
}

void unlock_memory_after_fork() {
    host_memory().unlock_after_fork();
    deferred().mutex.unlock();
}

}  // namespace owl
