#include "fault.h"

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

void set_kernel_delay(int microseconds) { delay.store(microseconds, std::memory_order_relaxed); }
int kernel_delay() { return delay.load(std::memory_order_relaxed); }

}  // namespace owl
