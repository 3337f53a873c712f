// The memory of the devices, which is the host's at addresses that it cannot follow, and pinned memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>

#include "_cuda/driver.h"
#include "checker.h"

namespace owl {
namespace cuda {

// Added to the address of a device's memory, so that the host faults where it follows one.
constexpr Address kAway = Address(1) << 60;
constexpr int kPinned = -1;  // instead of a device

struct Block {
    Block(size_t bytes, int device);
    ~Block();
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;

    Address address() const { return reinterpret_cast<Address>(data) + (device == kPinned ? 0 : kAway); }

    char* data;
    const size_t bytes;
    const int device;
    History history;
};

// A stretch of a block, which is kept alive by those who will touch it.
struct Place {
    std::shared_ptr<Block> block;  // nullptr: none
    size_t offset = 0;

    char* data() const { return block->data + offset; }
};

class Memory {
   public:
    explicit Memory(size_t per_device = 0) : per_device_(per_device) {}

    // nullptr where a device has no more.
    Block* allocate(size_t bytes, int device);
    // The block that begins there.
    std::shared_ptr<Block> block_at(Address address) const;
    void release(const std::shared_ptr<Block>& block);
    // The place of an address, device's or pinned, where `bytes` from there on lie in its block.
    Place find(Address address, size_t bytes) const;
    // Whether any of these bytes of the host are pinned.
    bool touches_pinned(const void* data, size_t bytes) const;

    size_t total() const { return per_device_; }
    size_t used(int device) const;

   private:
    size_t per_device_;
    std::map<Address, std::shared_ptr<Block>> blocks_;
    std::map<int, size_t> used_;
    std::deque<std::shared_ptr<Block>> freed_;  // the last ones, so that their addresses are not given out again soon
};

}  // namespace cuda
}  // namespace owl
