#include "fault.h"

#include <condition_variable>
#include <mutex>

namespace owl {
namespace {
struct Fault {
    Op op;
    FailureKind kind;
    int skip, count;
};
std::mutex mutex;
std::vector<Fault>& faults() {
    static auto* list = new std::vector<Fault>;
    return *list;
}
std::atomic<int> armed{0};
std::atomic<int> delay{0};
}  // namespace

void arm_fault(Op op, FailureKind kind, int skip, int count) {
    std::lock_guard<std::mutex> guard(mutex);
    faults().push_back({op, kind, skip, count});
    armed.store(static_cast<int>(faults().size()), std::memory_order_release);
}

void disarm_faults() {
    std::lock_guard<std::mutex> guard(mutex);
    faults().clear();
    armed.store(0, std::memory_order_release);
}

bool faults_armed() { return armed.load(std::memory_order_acquire) != 0; }

bool take_fault(Op op, FailureKind* kind) {
    std::lock_guard<std::mutex> guard(mutex);
    for (Fault& fault : faults()) {
        if (fault.op != op || fault.count == 0) continue;
        if (fault.skip > 0) {
            --fault.skip;
            continue;
        }
        --fault.count;
        *kind = fault.kind;
        return true;
    }
    return false;
}

namespace {
struct Hold {
    std::mutex mutex;
    std::condition_variable changed;
    bool on = false;
    int waiting = 0;
};
Hold& hold() {
    static auto* instance = new Hold;
    return *instance;
}
std::atomic<bool> holding{false};
}  // namespace

void hold_compilations() {
    std::lock_guard<std::mutex> guard(hold().mutex);
    hold().on = true;
    holding.store(true, std::memory_order_release);
}

void let_compilations_go() {
    std::lock_guard<std::mutex> guard(hold().mutex);
    hold().on = false;
    holding.store(false, std::memory_order_release);
    hold().changed.notify_all();
}

int compilations_held() {
    std::lock_guard<std::mutex> guard(hold().mutex);
    return hold().waiting;
}

void wait_while_compilations_are_held() {
    if (!holding.load(std::memory_order_acquire)) return;
    std::unique_lock<std::mutex> lock(hold().mutex);
    ++hold().waiting;
    hold().changed.wait(lock, [] { return !hold().on; });
    --hold().waiting;
}

void set_kernel_delay(int microseconds) { delay.store(microseconds, std::memory_order_relaxed); }
int kernel_delay() { return delay.load(std::memory_order_relaxed); }

}  // namespace owl
