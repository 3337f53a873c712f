#include "failure.h"

#include <mutex>
#include <unordered_set>

namespace owl {
namespace {
std::mutex mutex;
std::vector<Failure*>& unobserved() {
    static auto* failures = new std::vector<Failure*>;
    return *failures;
}
std::unordered_set<Failure*>& alive() {
    static auto* failures = new std::unordered_set<Failure*>;
    return *failures;
}

bool worth_telling(const Failure& failure) {
    return !failure.observed.load(std::memory_order_relaxed) && failure.kind != FailureKind::dropped &&
           failure.kind != FailureKind::forked;
}
}  // namespace

std::atomic<bool> any_unobserved_failure{false};

Failure::Failure(FailureKind kind_, std::string message_) : kind(kind_), message(std::move(message_)) {
    std::lock_guard<std::mutex> guard(mutex);
    alive().insert(this);
}

Failure::~Failure() {
    std::lock_guard<std::mutex> guard(mutex);
    alive().erase(this);
}

void Failure::release() {
    if (refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (!worth_telling(*this)) {
        delete this;
        return;
    }
    std::lock_guard<std::mutex> guard(mutex);
    unobserved().push_back(this);
    any_unobserved_failure.store(true, std::memory_order_release);
}

std::vector<Failure*> held_unobserved_failures() {
    std::lock_guard<std::mutex> guard(mutex);
    std::vector<Failure*> held;
    for (Failure* failure : alive())
        if (worth_telling(*failure)) held.push_back(failure);
    return held;
}

void forget_failures_after_fork() {
    std::lock_guard<std::mutex> guard(mutex);
    for (Failure* failure : alive()) failure->observed.store(true, std::memory_order_relaxed);
    // These have no references left; the few bytes of the record are not worth a second way of dropping it.
    unobserved().clear();
    any_unobserved_failure.store(false, std::memory_order_release);
}

void lock_failures_for_fork() { mutex.lock(); }
void unlock_failures_after_fork() { mutex.unlock(); }


std::vector<Failure*> take_unobserved_failures() {
    std::lock_guard<std::mutex> guard(mutex);
    std::vector<Failure*> taken;
    taken.swap(unobserved());
    any_unobserved_failure.store(false, std::memory_order_release);
    return taken;
}

}  // namespace owl
