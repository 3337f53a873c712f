// The graph's lock. A debug build (OWL_DEBUG=1) knows which thread holds it, asserts that where it is expected, and counts.
#pragma once
#include <cassert>
#include <cstdint>
#include <mutex>

#include "pause.h"

#if OWL_DEBUG
#include <atomic>
#include <thread>
#endif

namespace owl {

struct LockCounters {
    uint64_t taken = 0, contended = 0;
};

#if OWL_DEBUG
class GraphLock {
   public:
    void lock() {
        assert(!is_held() && "the graph's lock is taken twice by one thread");
        const bool at_once = mutex_.try_lock();
        if (!at_once) mutex_.lock();
        holder_.store(std::this_thread::get_id(), std::memory_order_relaxed);
        ++counters_.taken;
        counters_.contended += !at_once;
    }
    void unlock() {
        assert_held();
        holder_.store(std::thread::id(), std::memory_order_relaxed);
        mutex_.unlock();
    }
    void assert_held() const { assert(is_held() && "the graph's lock is expected to be held"); }
    void assert_not_held() const { assert(!is_held() && "what takes long must not hold the graph's lock"); }
    // Under the lock.
    LockCounters counters() const { return counters_; }

   private:
    bool is_held() const { return holder_.load(std::memory_order_relaxed) == std::this_thread::get_id(); }
    std::mutex mutex_;
    std::atomic<std::thread::id> holder_{};
    LockCounters counters_;
};
constexpr bool kDebug = true;
#else
class GraphLock : public std::mutex {
   public:
    // Most holders are gone within a microsecond, and a sleeping thread is not back for many: looks before it sleeps.
    void lock() {
        constexpr int kLooks = 64;
        for (int looks = 0; looks < kLooks; ++looks) {
            if (try_lock()) return;
            pause_briefly();
        }
        std::mutex::lock();
    }
    void assert_held() const {}
    void assert_not_held() const {}
    LockCounters counters() const { return {}; }
};
constexpr bool kDebug = false;
#endif

}  // namespace owl
