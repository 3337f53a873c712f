// Waits of threads that look before they sleep.
#pragma once
#include <sched.h>

#include <chrono>

#include "_engine/graph/pause.h"

namespace owl {

// How long a thread looks before it sleeps: longer than the gap between two kernels of a plan or two plans of a loop, and
// about as long as waking up takes; short enough that idle cores sleep.
constexpr auto kSpin = std::chrono::microseconds(50);

// Returns whether the condition came true in that time. Another thread that wants this core gets it now and then.
template <class Condition>
bool spin(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + kSpin;
    for (int spins = 1; !condition(); ++spins) {
        pause_briefly();
        if (spins % 64) continue;
        sched_yield();
        if (std::chrono::steady_clock::now() > deadline) return condition();
    }
    return true;
}

// For what comes true within a kernel's chunk. A thread that lost its core gets a chance to come back.
template <class Condition>
void spin_until(Condition condition) {
    for (int spins = 1; !condition(); ++spins) {
        pause_briefly();
        if (spins % 4096 == 0) sched_yield();
    }
}

}  // namespace owl
