#include "memory.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace owl {
namespace cuda {

namespace {

constexpr size_t kAlignment = 256, kMostFreed = 64, kLargestKept = 1 << 16;

size_t rounded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// What nothing has been written to is NaN as a number, and far out of range as an index.
void wipe(Block& block) { std::memset(block.data, 0xFF, block.bytes); }

}  // namespace

Block::Block(size_t bytes, int device) : bytes(bytes), device(device) {
    void* memory = nullptr;
    if (posix_memalign(&memory, kAlignment, bytes)) throw std::bad_alloc();
    data = static_cast<char*>(memory);
    wipe(*this);
}

Block::~Block() { std::free(data); }

Block* Memory::allocate(size_t bytes, int device) {
    if (device != kPinned && (bytes > per_device_ || used(device) + rounded(bytes) > per_device_)) return nullptr;
    auto block = std::make_shared<Block>(bytes, device);
    used_[device] += rounded(bytes);
    Block* made = block.get();
    blocks_.emplace(made->address(), std::move(block));
    return made;
}

std::shared_ptr<Block> Memory::block_at(Address address) const {
    const auto found = blocks_.find(address);
    return found == blocks_.end() ? nullptr : found->second;
}

void Memory::release(const std::shared_ptr<Block>& block) {
    wipe(*block);
    used_[block->device] -= rounded(block->bytes);
    blocks_.erase(block->address());
    if (block->bytes > kLargestKept) return;
    freed_.push_back(block);
    if (freed_.size() > kMostFreed) freed_.pop_front();
}

Place Memory::find(Address address, size_t bytes) const {
    auto next = blocks_.upper_bound(address);
    if (next == blocks_.begin()) return {};
    const auto& block = std::prev(next)->second;
    const size_t offset = address - block->address();
    if (offset > block->bytes || bytes > block->bytes - offset) return {};
    return {block, offset};
}

bool Memory::touches_pinned(const void* data, size_t bytes) const {
    const Address first = reinterpret_cast<Address>(data);
    auto next = blocks_.lower_bound(first + bytes);
    if (next == blocks_.begin()) return false;
    const auto& block = std::prev(next)->second;
    return block->device == kPinned && block->address() + block->bytes > first;
}

size_t Memory::used(int device) const {
    const auto found = used_.find(device);
    return found == used_.end() ? 0 : found->second;
}

}  // namespace cuda
}  // namespace owl
