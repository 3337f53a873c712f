#include "plan_bin.h"

#include <atomic>

namespace owl {
namespace {

// A stack, linked by next_dropped. Without a lock, which a fork could leave taken in the child.
std::atomic<Plan*> dropped{nullptr};

void put(Plan* plan) {
    plan->next_dropped = dropped.load(std::memory_order_relaxed);
    while (!dropped.compare_exchange_weak(plan->next_dropped, plan, std::memory_order_release, std::memory_order_relaxed)) {
    }
}

}  // namespace

std::shared_ptr<Plan> new_plan() { return {new Plan, put}; }

void empty_plan_bin() {
    if (!dropped.load(std::memory_order_relaxed)) return;
    Plan* plan = dropped.exchange(nullptr, std::memory_order_acquire);
    while (plan) {
        Plan* next = plan->next_dropped;
        delete plan;
        plan = next;
    }
}

}  // namespace owl
