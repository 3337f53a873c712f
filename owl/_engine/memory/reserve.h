// Memory put by for what must not fail half-way. Where the system refuses a small allocation of C++, the reserve is given
// up so that what has begun can end; nothing new is recorded until the reserve is whole again.
#pragma once
#include <atomic>

namespace owl {

extern std::atomic<bool> reserve_spent;
inline bool is_reserve_spent() { return reserve_spent.load(std::memory_order_relaxed); }
void spend_reserve();   // the system refused memory: some of the reserve goes back to it
bool refill_reserve();  // false if there is no memory for it

}  // namespace owl
