// Of the driver: memory, and copies.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "abi.h"

namespace owl {
namespace cuda {

namespace {

// What an operation of a stream does to a place, at the stream's time.
void touch(State& now, const CUstream_st& stream, const Place& place, size_t bytes, bool written, const Touch& by) {
    if (!kChecked) return;
    const std::string wrong = place.block->history.touch(place.offset, place.offset + bytes, written, stream.clock, by);
    if (!wrong.empty()) now.add_problem(wrong);
}

// A place in a device's memory, or in the pinned one.
Place find(State& now, Address address, size_t bytes, bool pinned) {
    Place place = now.memory.find(address, bytes);
    if (place.block && (place.block->device == kPinned) != pinned) return {};
    return place;
}
Place find_pinned(State& now, const void* data, size_t bytes) {
    return find(now, reinterpret_cast<Address>(data), bytes, true);
}

// Whether bytes of the host's can be copied: none of them, or all of one block, are pinned.
bool copyable(State& now, const void* data, size_t bytes, const Place& pinned) {
    return data && reinterpret_cast<Address>(data) < kAway && (pinned.block || !now.memory.touches_pinned(data, bytes));
}

Result free_block(State& now, Address address, bool pinned, const char* symbol) {
    const auto block = now.memory.block_at(address);
    if (!block || (block->device == kPinned) != pinned) return kInvalidValue;
    if (kChecked) {
        const std::string wrong = block->history.end(now.host, symbol);
        if (!wrong.empty()) now.add_problem(wrong);
    }
    now.memory.release(block);
    return kSuccess;
}

}  // namespace

Result cuMemGetInfo_v2(size_t* free, size_t* total) {
    return call("cuMemGetInfo_v2", Needs::context, [&](State& now, Lock&) -> Result {
        if (!free || !total) return kInvalidValue;
        *total = now.memory.total();
        *free = *total - now.memory.used(current_context()->device);
        return kSuccess;
    });
}

Result cuMemAlloc_v2(Address* address, size_t bytes) {
    return call("cuMemAlloc_v2", Needs::context, [&](State& now, Lock&) -> Result {
        if (!address || !bytes) return kInvalidValue;
        const Block* block = now.memory.allocate(bytes, current_context()->device);
        if (!block) return kOutOfMemory;
        *address = block->address();
        return kSuccess;
    });
}

// A driver may wait here until its device has nothing to do. Nothing may count on it, so the stand-in does not.
Result cuMemFree_v2(Address address) {
    return call("cuMemFree_v2", Needs::context, [&](State& now, Lock&) -> Result {
        return address ? free_block(now, address, false, "cuMemFree_v2") : kSuccess;
    });
}

Result cuMemHostAlloc(void** data, size_t bytes, unsigned) {
    return call("cuMemHostAlloc", Needs::context, [&](State& now, Lock&) -> Result {
        if (!data || !bytes) return kInvalidValue;
        *data = now.memory.allocate(bytes, kPinned)->data;
        return kSuccess;
    });
}

Result cuMemFreeHost(void* data) {
    return call("cuMemFreeHost", Needs::context, [&](State& now, Lock&) -> Result {
        return data ? free_block(now, reinterpret_cast<Address>(data), true, "cuMemFreeHost") : kSuccess;
    });
}

// Pinned memory is read when the copy runs; other memory is read now.
Result cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, Stream stream) {
    return call("cuMemcpyHtoDAsync_v2", Needs::context, [&](State& now, Lock&) -> Result {
        if (!now.streams.lives(stream)) return kInvalidHandle;
        if (!bytes) return kSuccess;
        const Place target = find(now, to, bytes, false), source = find_pinned(now, from, bytes);
        if (!target.block || !copyable(now, from, bytes, source)) return kInvalidValue;
        const Touch by = tick(now, *stream, "cuMemcpyHtoDAsync_v2");
        now.copied_bytes += bytes;
        touch(now, *stream, target, bytes, true, by);
        Operation operation;
        if (source.block) {
            touch(now, *stream, source, bytes, false, by);
            operation.work = [=] {
                std::memcpy(target.data(), source.data(), bytes);
                return std::string();
            };
        } else {
            const auto* first = static_cast<const char*>(from);
            auto staged = std::make_shared<std::vector<char>>(first, first + bytes);
            operation.work = [=] {
                std::memcpy(target.data(), staged->data(), bytes);
                return std::string();
            };
        }
        issue(now, *stream, std::move(operation));
        return kSuccess;
    });
}

// Into pinned memory it is asynchronous; into other memory it ends before the call does.
Result cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, Stream stream) {
    return call("cuMemcpyDtoHAsync_v2", Needs::context, [&](State& now, Lock& lock) -> Result {
        if (!now.streams.lives(stream)) return kInvalidHandle;
        if (!bytes) return kSuccess;
        const Place target = find_pinned(now, to, bytes), source = find(now, from, bytes, false);
        if (!source.block || !copyable(now, to, bytes, target)) return kInvalidValue;
        const Touch by = tick(now, *stream, "cuMemcpyDtoHAsync_v2");
        now.copied_bytes += bytes;
        touch(now, *stream, source, bytes, false, by);
        if (target.block) touch(now, *stream, target, bytes, true, by);
        Operation operation;
        if (target.block) {
            operation.work = [=] {
                std::memcpy(target.data(), source.data(), bytes);
                return std::string();
            };
            issue(now, *stream, std::move(operation));
            return kSuccess;
        }
        // Not straight to where it goes: should the wait fail, the copy may still be under way.
        auto staged = std::make_shared<std::vector<char>>(bytes);
        operation.work = [=] {
            std::memcpy(staged->data(), source.data(), bytes);
            return std::string();
        };
        issue(now, *stream, std::move(operation));
        const uint64_t last = stream->issued;
        const Clock clock = stream->clock;
        if (const Result error = wait_until(now, lock, [&] { return stream->finished >= last; })) return error;
        std::memcpy(to, staged->data(), bytes);
        join(now.host, clock);
        return kSuccess;
    });
}

Result cuMemcpyPeerAsync(Address to, Context to_context, Address from, Context from_context, size_t bytes, Stream stream) {
    return call("cuMemcpyPeerAsync", Needs::context, [&](State& now, Lock&) -> Result {
        if (!now.contexts.lives(to_context) || !now.contexts.lives(from_context)) return kInvalidContext;
        if (!now.streams.lives(stream)) return kInvalidHandle;
        if (!bytes) return kSuccess;
        const Place target = find(now, to, bytes, false), source = find(now, from, bytes, false);
        if (!target.block || !source.block) return kInvalidValue;
        if (target.block->device != to_context->device || source.block->device != from_context->device) return kInvalidValue;
        const Touch by = tick(now, *stream, "cuMemcpyPeerAsync");
        now.copied_bytes += bytes;
        if (to_context != from_context) {
            const auto reads = [](const CUctx_st* one, const CUctx_st* other) {
                return std::count(one->peers.begin(), one->peers.end(), other) > 0;
            };
            ++(reads(to_context, from_context) || reads(from_context, to_context) ? now.direct_copies : now.staged_copies);
        }
        touch(now, *stream, source, bytes, false, by);
        touch(now, *stream, target, bytes, true, by);
        Operation operation;
        operation.work = [=] {
            std::memmove(target.data(), source.data(), bytes);
            return std::string();
        };
        issue(now, *stream, std::move(operation));
        return kSuccess;
    });
}

}  // namespace cuda
}  // namespace owl
