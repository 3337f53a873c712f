// Small pieces of the host's memory, cut from slabs that go back to the system once nothing in them is in use.
//
// The C library's heap keeps what one thread has freed from other threads, and never gives it back while a byte of it is in
// use: where addresses are limited, a thread that has dropped a hundred thousand small values could not record the next one.
#pragma once
#include <cstddef>

namespace owl {

constexpr size_t kSmallUnit = 64, kMostSmall = 8 * kSmallUnit;  // bytes; all pieces are aligned to a unit

// By any thread. nullptr if the system refuses.
void* allocate_small(size_t bytes);
void free_small(void* data);

void lock_small_blocks_for_fork();
void unlock_small_blocks_after_fork();

}  // namespace owl
