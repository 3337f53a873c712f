#include "memory.h"

#include <cstdlib>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace owl {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = 2u << 20;
constexpr size_t kSlack = 64u << 20;
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

Buffer* MemoryPool::allocate(size_t bytes) {
    int size_class;
    if (bytes > (size_t{1} << 46)) return nullptr;
    const size_t capacity = round_up(bytes, &size_class);
    void* data = nullptr;
    {
        std::lock_guard<std::mutex> guard(mutex_);
        if (limit_ && in_use_ + capacity > limit_) return nullptr;
        auto& free_blocks = free_[size_class];
        if (!free_blocks.empty()) {
            data = free_blocks.back().data;
            free_blocks.pop_back();
            cached_ -= capacity;
        }
        in_use_ += capacity;
        if (in_use_ > peak_) peak_ = in_use_;
    }
    if (!data) data = system_allocate(capacity);
    if (!data) {
        trim();
        data = system_allocate(capacity);
    }
    if (!data) {
        std::lock_guard<std::mutex> guard(mutex_);
        in_use_ -= capacity;
        return nullptr;
    }
    auto* buffer = new Buffer;
    buffer->data = data;
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    buffer->pool = this;
    buffers.fetch_add(1, std::memory_order_relaxed);
    return buffer;
}

// Twice what the program once needed at the same time: a program that goes through arrays of several sizes holds few of
// them at once, but asks for all of them again in its next step.
size_t MemoryPool::most_held() const {
    const size_t most = 2 * peak_ + kSlack;
    return limit_ && limit_ < most ? limit_ : most;
}

void MemoryPool::recycle(void* data, size_t capacity) {
    int size_class;
    round_up(capacity, &size_class);
    std::vector<void*> dropped;
    {
        std::lock_guard<std::mutex> guard(mutex_);
        in_use_ -= capacity;
        free_[size_class].push_back({data, capacity, given_back_++});
        cached_ += capacity;
        if (in_use_ + cached_ > most_held()) drop_oldest(most_held(), &dropped);
    }
    for (void* block : dropped) std::free(block);
}

// Sizes that a program has turned away from make room for those that it uses now.
void MemoryPool::drop_oldest(size_t held, std::vector<void*>* dropped) {
    while (cached_ && in_use_ + cached_ > held) {
        std::vector<Cached>* oldest = nullptr;
        for (auto& blocks : free_)
            if (!blocks.empty() && (!oldest || blocks.front().since < oldest->front().since)) oldest = &blocks;
        dropped->push_back(oldest->front().data);
        cached_ -= oldest->front().capacity;
        oldest->erase(oldest->begin());
    }
}

void MemoryPool::drop_cached() {
    for (auto& blocks : free_) {
        for (const Cached& block : blocks) std::free(block.data);
        blocks.clear();
    }
    cached_ = 0;
}

void MemoryPool::trim() {
    std::lock_guard<std::mutex> guard(mutex_);
    drop_cached();
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
