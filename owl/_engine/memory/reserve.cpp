#include "reserve.h"

#include <sys/mman.h>

#include <cstddef>
#include <new>

#include "memory.h"

#ifdef __linux__
#include <malloc.h>
#endif

namespace owl {

std::atomic<bool> reserve_spent{false};

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

bool give_back_block() {
    reserve_spent.store(true, std::memory_order_relaxed);
    for (std::atomic<void*>& block : reserve) {
        if (void* memory = block.exchange(nullptr)) {
            unmap_block(memory);
            return true;
        }
    }
    return false;
}

// `new` tries again after it.
void handle_refusal() {
    if (give_back_block()) return;
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
    former_handler = std::set_new_handler(handle_refusal);
    return true;
}();

}  // namespace

void spend_reserve() { give_back_block(); }

bool refill_reserve() {
    host_memory().drop_cached();
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    if (fill_reserve() < kLeastReserve) return false;
    reserve_spent.store(false, std::memory_order_relaxed);
    return true;
}

}  // namespace owl
