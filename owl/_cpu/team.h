// A team of threads that shares out the chunks of a kernel.
//
// One team serves all CPU devices, so several devices do not oversubscribe the cores: an executor always works on its own
// chunks, and helpers join where there is room. Each participant first takes its own contiguous range (the same slice of
// a weight matrix lands on the same core step after step and stays in its cache), then steals from others.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "_cpu/kernels/kernels.h"

namespace owl {

constexpr int kMaxThreads = 64;  // that compute at the same time: one bit each in Region::joined_

class Team;

// One executor's parallel work. Lives as long as its executor; opened and closed once per phase of a kernel.
class Region {
   public:
    // Runs all chunks of all phases and returns when the last has finished.
    void run(const Kernel& kernel, const void* args);
    // Makes sure that every participant has this many bytes of scratch; false if memory is refused.
    bool reserve_scratch(size_t bytes);
    bool release_scratch();  // whether there was any
    ~Region();

   private:
    friend class Team;
    struct alignas(64) Range {
        std::atomic<uint64_t> bounds{0};  // begin in the low half, end in the high half
        void* scratch = nullptr;
    };
    bool take(Range* range, int64_t grain, int64_t* begin, int64_t* end);
    void participate(int self);
    void run_phase(int phase, int64_t chunks, int participants);

    const Kernel* kernel_ = nullptr;
    const void* args_ = nullptr;
    int phase_ = 0;
    int64_t grain_ = 1;
    int participants_ = 1;
    size_t scratch_bytes_ = 0;
    int scratch_threads_ = 1;
    std::atomic<int64_t> unfinished_{0};
    std::atomic<bool> open_{false};
    std::atomic<int> inside_{0};    // helpers that may touch this region
    std::atomic<uint64_t> joined_{0};  // bit p: participant p is taken
    Range ranges_[kMaxThreads];
};

class Team {
   public:
    // Threads that compute at the same time, the executor's own included.
    int size();
    void resize(int threads);
    void attach(Region* region);
    void detach(Region* region);
    // An executor that has a plan to run; helpers are shared out among those.
    void enter() { active_.fetch_add(1, std::memory_order_relaxed); }
    // Whether one that has entered shares its work with others.
    bool has_helpers() { return share() > 1; }
    void leave() { active_.fetch_sub(1, std::memory_order_relaxed); }

    void lock_for_fork();
    void unlock_after_fork(bool in_child);

   private:
    friend class Region;
    void work(int helper, uint64_t generation);
    bool help(int helper);
    void announce();
    int share();
    void start();
    void set_size(int threads);

    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<std::thread> threads_;
    std::atomic<uint64_t> epoch_{0};     // moves when there is new work
    std::atomic<uint64_t> generation_{0};  // moves when the threads of an earlier size must end
    std::atomic<int> sleeping_{0};
    std::atomic<int> active_{0};
    std::atomic<int> size_{0};
    std::atomic<int> started_{0};
    static constexpr int kMaxRegions = 64;
    std::atomic<Region*> regions_[kMaxRegions] = {};
    std::atomic<int> visiting_{0};
};

Team& team();  // never destroyed

// The region of an executor, which helpers find from its first run on.
class AttachedRegion {
   public:
    ~AttachedRegion();
    void attach();  // any number of times
    // In a forked child, whose team has no thread any more: the region may be half-way through a phase.
    void forget();
    Region* operator->() const { return region_.get(); }

   private:
    std::unique_ptr<Region> region_ = std::make_unique<Region>();
    bool attached_ = false;
};
int default_threads();  // from cgroup and affinity

}  // namespace owl
