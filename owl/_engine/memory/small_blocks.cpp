#include "small_blocks.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <mutex>

#include "reserve.h"

namespace owl {

#ifdef __SANITIZE_ADDRESS__  // which sees to each piece by itself

void* allocate_small(size_t bytes) {
    void* data = nullptr;
    return posix_memalign(&data, kSmallUnit, bytes) ? nullptr : data;
}
void free_small(void* data) { std::free(data); }
void lock_small_blocks_for_fork() {}
void unlock_small_blocks_after_fork() {}

#else

namespace {

constexpr size_t kSlab = 256u << 10;  // bytes; slabs are aligned to their size

struct Slab {
    Slab *next, *previous;  // of those of its size that have room
    void* free;             // pieces given back, linked through their first words
    char* fresh;            // from here on never handed out
    size_t piece;           // bytes of each
    size_t used;
};
static_assert(sizeof(Slab) <= kSmallUnit, "the first piece begins one unit behind the slab");

struct SmallBlocks {
    std::mutex mutex;
    Slab* with_room[kMostSmall / kSmallUnit + 1] = {};  // by units
};
SmallBlocks& small_blocks() {
    static auto* instance = new SmallBlocks;
    return *instance;
}

Slab* map_slab(size_t piece) {
    void* mapped = mmap(nullptr, 2 * kSlab, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return nullptr;
    char* const begin = static_cast<char*>(mapped);
    const size_t before = -reinterpret_cast<uintptr_t>(begin) % kSlab;
    if (before) munmap(begin, before);
    munmap(begin + before + kSlab, kSlab - before);
    auto* slab = reinterpret_cast<Slab*>(begin + before);
    *slab = {nullptr, nullptr, nullptr, begin + before + kSmallUnit, piece, 0};
    return slab;
}

bool has_room(const Slab* slab) {
    return slab->free || slab->fresh + slab->piece <= reinterpret_cast<const char*>(slab) + kSlab;
}

void link(Slab* slab, Slab** first) {
    slab->previous = nullptr;
    slab->next = *first;
    if (*first) (*first)->previous = slab;
    *first = slab;
}

void unlink(Slab* slab, Slab** first) {
    (slab->previous ? slab->previous->next : *first) = slab->next;
    if (slab->next) slab->next->previous = slab->previous;
}

}  // namespace

void* allocate_small(size_t bytes) {
    const size_t units = (bytes + kSmallUnit - 1) / kSmallUnit;
    SmallBlocks& all = small_blocks();
    std::lock_guard<std::mutex> guard(all.mutex);
    Slab*& first = all.with_room[units];
    if (!first) {
        Slab* slab = map_slab(units * kSmallUnit);
        if (!slab) {
            spend_reserve();  // as `new` does: the thread that records learns of it
            return nullptr;
        }
        link(slab, &first);
    }
    Slab* const slab = first;
    void* piece = slab->free;
    if (piece)
        slab->free = *static_cast<void**>(piece);
    else
        piece = slab->fresh, slab->fresh += slab->piece;
    ++slab->used;
    if (!has_room(slab)) unlink(slab, &first);
    return piece;
}

void free_small(void* data) {
    auto* const slab = reinterpret_cast<Slab*>(reinterpret_cast<uintptr_t>(data) & ~(kSlab - 1));
    SmallBlocks& all = small_blocks();
    std::lock_guard<std::mutex> guard(all.mutex);
    Slab*& first = all.with_room[slab->piece / kSmallUnit];
    if (!has_room(slab)) link(slab, &first);
    *static_cast<void**>(data) = slab->free;
    slab->free = data;
    if (--slab->used) return;
    unlink(slab, &first);
    munmap(slab, kSlab);
}

void lock_small_blocks_for_fork() { small_blocks().mutex.lock(); }
void unlock_small_blocks_after_fork() { small_blocks().mutex.unlock(); }

#endif

}  // namespace owl
