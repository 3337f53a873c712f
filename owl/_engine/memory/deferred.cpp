#include "deferred.h"

#include <mutex>

namespace owl {
namespace {

struct Deferred {
    std::mutex mutex;
    std::vector<void*> objects;
};
Deferred& deferred() {
    static auto* instance = new Deferred;
    return *instance;
}

}  // namespace

std::atomic<bool> any_deferred_release{false};

void defer_release(void* object) {
    auto& queue = deferred();
    std::lock_guard<std::mutex> guard(queue.mutex);
    queue.objects.push_back(object);
    any_deferred_release.store(true, std::memory_order_release);
}

std::vector<void*> take_deferred_releases() {
    auto& queue = deferred();
    std::lock_guard<std::mutex> guard(queue.mutex);
    std::vector<void*> taken;
    taken.swap(queue.objects);
    any_deferred_release.store(false, std::memory_order_release);
    return taken;
}

void lock_deferred_for_fork() { deferred().mutex.lock(); }
void unlock_deferred_after_fork() { deferred().mutex.unlock(); }

}  // namespace owl
