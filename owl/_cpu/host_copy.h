// Large copies from one place of the host's memory to another, shared out to the team's threads.
#pragma once
#include <cstddef>
#include <cstdint>

namespace owl {

// From so many bytes on: below, waking threads takes longer than they save. An estimate.
constexpr size_t kSharedCopyBytes = size_t{4} << 20;

// Any thread. It copies all by itself if the team has no thread to spare, or if another thread's copy is being shared out.
void copy_on_host(void* to, const void* from, size_t bytes);

uint64_t shared_copies();  // so far

// In a forked child, which has no thread of the team's: the copy that is shared out is its parent's.
void forget_host_copies();

}  // namespace owl
