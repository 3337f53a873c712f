// Python objects that native threads have let go of; the next owl call with the GIL drops them.
#pragma once
#include <atomic>
#include <vector>

namespace owl {

void defer_release(void* object);
std::vector<void*> take_deferred_releases();
extern std::atomic<bool> any_deferred_release;
inline bool has_deferred_releases() { return any_deferred_release.load(std::memory_order_acquire); }
void lock_deferred_for_fork();
void unlock_deferred_after_fork();

}  // namespace owl
