// Why a value does not exist: one record, shared by every value that depends on it.
#pragma once
#include <atomic>
#include <string>
#include <vector>

#include "types.h"

namespace owl {

enum class FailureKind : uint8_t { out_of_memory, injected, forked, dropped, promise, device };

struct Failure {
    struct Origin {
        uint16_t op;
        uint32_t site;
    };
    FailureKind kind;
    std::string message;
    std::vector<Origin> origins;  // every operation of the kernel that failed, with the line that recorded it
    std::atomic<bool> observed{false};
    std::atomic<int> refs{1};

    Failure(FailureKind kind_, std::string message_);
    ~Failure();
    Failure* retain() {
        refs.fetch_add(1, std::memory_order_relaxed);
        return this;
    }
    // The last reference of a failure that was never retrieved goes to take_unobserved_failures.
    void release();
};

// Failures that died unseen, for the one line that each prints to stderr. Printing needs Python (the line's file name),
// so it waits for the next owl call or for exit.
// The caller owns them.
std::vector<Failure*> take_unobserved_failures();
extern std::atomic<bool> any_unobserved_failure;
inline bool has_unobserved_failures() { return any_unobserved_failure.load(std::memory_order_acquire); }
// In a forked child: failures of before are the parent's to tell.
void forget_failures_after_fork();
void lock_failures_for_fork();
void unlock_failures_after_fork();
// At exit: those too that values still hold, unless they were retrieved. The caller owns none of these.
std::vector<Failure*> held_unobserved_failures();

}  // namespace owl
