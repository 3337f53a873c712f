#include "team.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>

#include "_engine/run/spin.h"
#include "_engine/run/thread.h"

namespace owl {
namespace {

// A range is handed out in this many pieces, so that a participant that was interrupted leaves work to steal.
constexpr int64_t kPiecesPerRange = 4;

int cgroup_limit() {
    int limit = 0;
    if (FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
        char quota[32];
        long period = 0;
        if (std::fscanf(file, "%31s %ld", quota, &period) == 2 && std::strcmp(quota, "max") != 0 && period > 0)
            limit = static_cast<int>((std::atol(quota) + period - 1) / period);
        std::fclose(file);
    }
    return limit;
}

}  // namespace

int default_threads() {
    int threads = static_cast<int>(std::thread::hardware_concurrency());
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) threads = CPU_COUNT(&set);
#endif
    if (const int limit = cgroup_limit()) threads = std::min(threads, limit);
    return std::clamp(threads, 1, kMaxThreads);
}

Team& team() {
    static auto* instance = new Team;
    return *instance;
}

// ------------------------------------------------------------------------------------------------------------- regions

Region::~Region() { release_scratch(); }

bool Region::release_scratch() {
    const bool any = scratch_bytes_ > 0;
    for (Range& range : ranges_) {
        std::free(range.scratch);
        range.scratch = nullptr;
    }
    scratch_bytes_ = 0;
    scratch_threads_ = 0;
    return any;
}

bool Region::reserve_scratch(size_t bytes) {
    const int threads = team().size();
    if (bytes <= scratch_bytes_ && threads <= scratch_threads_) return true;
    bytes = std::max(scratch_bytes_, (bytes + 4095) / 4096 * 4096);
    for (int i = 0; i < kMaxThreads; ++i) {
        std::free(ranges_[i].scratch);
        ranges_[i].scratch = nullptr;
        if (i < threads && bytes && posix_memalign(&ranges_[i].scratch, 4096, bytes)) {
            release_scratch();
            return false;
        }
    }
    scratch_bytes_ = bytes;
    scratch_threads_ = threads;
    return true;
}

bool Region::take(Range* range, int64_t grain, int64_t* begin, int64_t* end) {
    uint64_t bounds = range->bounds.load(std::memory_order_relaxed);
    for (;;) {
        const auto low = static_cast<uint32_t>(bounds), high = static_cast<uint32_t>(bounds >> 32);
        if (low >= high) return false;
        const uint32_t taken = static_cast<uint32_t>(std::min<int64_t>(grain, high - low));
        if (range->bounds.compare_exchange_weak(bounds, (uint64_t{high} << 32) | (low + taken), std::memory_order_acq_rel,
                                                std::memory_order_relaxed)) {
            *begin = low;
            *end = low + taken;
            return true;
        }
    }
}

void Region::participate(int self) {
    const int n = participants_;
    void* scratch = ranges_[self].scratch;
    for (int k = 0; k < n; ++k) {
        Range* range = &ranges_[(self + k) % n];
        int64_t begin, end;
        while (take(range, grain_, &begin, &end)) {
            kernel_->run(args_, phase_, begin, end, scratch);
            unfinished_.fetch_sub(end - begin, std::memory_order_acq_rel);
        }
    }
}

void Region::run(const Kernel& kernel, const void* args) {
    kernel_ = &kernel;
    args_ = args;
    const int phases = kernel.phases(args);
    for (int phase = 0; phase < phases; ++phase) {
        const int64_t chunks = kernel.chunks(args, phase);
        const int64_t room = std::min(team().share(), scratch_threads_);
        const int helpers = static_cast<int>(std::min(room, chunks)) - 1;
        if (helpers <= 0) {
            if (chunks > 0) kernel.run(args, phase, 0, chunks, ranges_[0].scratch);
        } else {
            run_phase(phase, chunks, helpers + 1);
        }
    }
}

void Region::run_phase(int phase, int64_t chunks, int participants) {
    phase_ = phase;
    participants_ = participants;
    // The halves of a range are 32 bits; no kernel comes near 2^31 chunks.
    grain_ = std::max<int64_t>(1, chunks / (participants * kPiecesPerRange));
    for (int p = 0; p < participants; ++p) {
        const uint64_t begin = chunks * p / participants, end = chunks * (p + 1) / participants;
        ranges_[p].bounds.store(end << 32 | begin, std::memory_order_relaxed);
    }
    unfinished_.store(chunks, std::memory_order_relaxed);
    joined_.store(1, std::memory_order_relaxed);
    open_.store(true, std::memory_order_seq_cst);
    team().announce();
    participate(0);
    spin_until([this] { return unfinished_.load(std::memory_order_acquire) == 0; });
    open_.store(false, std::memory_order_seq_cst);
    spin_until([this] { return inside_.load(std::memory_order_seq_cst) == 0; });
}

// --------------------------------------------------------------------------------------------------------------- team

int Team::size() {
    int size = size_.load(std::memory_order_acquire);
    if (size) return size;
    std::lock_guard<std::mutex> guard(mutex_);
    if (!size_.load()) set_size(default_threads());  // unless another thread chose it meanwhile
    return size_.load();
}

void Team::resize(int threads) {
    std::lock_guard<std::mutex> guard(mutex_);
    set_size(std::clamp(threads, 1, kMaxThreads));
}

// Under the team's lock.
void Team::set_size(int threads) {
    if (threads == size_.load()) return;
    size_.store(threads, std::memory_order_release);
    generation_.fetch_add(1);
    epoch_.fetch_add(1);
    wake_.notify_all();
    for (auto& thread : threads_) thread.detach();  // they end by themselves when they see the new generation
    threads_.clear();
    started_.store(0, std::memory_order_release);
}

void Team::start() {
    std::lock_guard<std::mutex> guard(mutex_);
    const int wanted = size_.load() - 1;
    const uint64_t generation = generation_.load();
    while (static_cast<int>(threads_.size()) < wanted) {
        const int helper = static_cast<int>(threads_.size());
        try {
            threads_.push_back(start_quiet_thread([this, helper, generation] { work(helper, generation); }));
        } catch (const std::system_error&) {
            break;  // the system has no more threads to give: those that there are do all the work
        }
    }
    started_.store(wanted, std::memory_order_release);
}

void Team::attach(Region* region) {
    for (auto& slot : regions_) {
        Region* empty = nullptr;
        if (slot.compare_exchange_strong(empty, region)) return;
    }
}

void Team::detach(Region* region) {
    for (auto& slot : regions_) {
        Region* mine = region;
        if (slot.compare_exchange_strong(mine, nullptr)) break;
    }
    spin_until([this] { return visiting_.load(std::memory_order_seq_cst) == 0; });
}

AttachedRegion::~AttachedRegion() {
    if (attached_) team().detach(region_.get());
}

void AttachedRegion::attach() {
    if (!attached_) team().attach(region_.get());
    attached_ = true;
}

void AttachedRegion::forget() {
    attached_ = false;
    region_.release();
    region_ = std::make_unique<Region>();
}

// How many threads one executor may use now. With more executors than cores each still has its own thread.
int Team::share() {
    const int active = std::max(1, active_.load(std::memory_order_relaxed));
    const int mine = std::max(1, size() / active);
    if (mine > 1 && started_.load(std::memory_order_acquire) < size_.load(std::memory_order_acquire) - 1) start();
    return mine;
}

void Team::announce() {
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    if (sleeping_.load(std::memory_order_seq_cst)) {
        { std::lock_guard<std::mutex> guard(mutex_); }  // a helper between its last look and its sleep must not miss this
        wake_.notify_all();
    }
}

bool Team::help(int helper) {
    bool helped = false;
    visiting_.fetch_add(1, std::memory_order_seq_cst);
    for (auto& slot : regions_) {
        Region* region = slot.load(std::memory_order_seq_cst);
        if (!region) continue;
        region->inside_.fetch_add(1, std::memory_order_seq_cst);
        if (region->open_.load(std::memory_order_seq_cst)) {
            const int n = region->participants_;
            // The same participant number each time, for the sake of its cache; another one if that is taken.
            for (int k = 0; k < n - 1; ++k) {
                const int p = 1 + (helper + k) % (n - 1);
                const uint64_t bit = uint64_t{1} << p;
                if (region->joined_.fetch_or(bit, std::memory_order_acq_rel) & bit) continue;
                region->participate(p);
                helped = true;
                break;
            }
        }
        region->inside_.fetch_sub(1, std::memory_order_seq_cst);
    }
    visiting_.fetch_sub(1, std::memory_order_seq_cst);
    return helped;
}

void Team::work(int helper, uint64_t generation) {
    uint64_t seen = epoch_.load(std::memory_order_seq_cst);
    auto called = [&] {
        return epoch_.load(std::memory_order_seq_cst) != seen || generation_.load(std::memory_order_acquire) != generation;
    };
    while (generation_.load(std::memory_order_acquire) == generation) {
        if (spin(called)) {
            seen = epoch_.load(std::memory_order_seq_cst);
            help(helper);
            continue;
        }
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.fetch_add(1, std::memory_order_seq_cst);
        wake_.wait(lock, called);
        sleeping_.fetch_sub(1, std::memory_order_seq_cst);
    }
}

void Team::lock_for_fork() { mutex_.lock(); }

void Team::unlock_after_fork(bool in_child) {
    if (in_child) {
        // The helpers did not come along. Their std::thread objects must not be destroyed: there is nothing to join.
        auto* lost = new std::vector<std::thread>;
        lost->swap(threads_);
        sleeping_.store(0);
        started_.store(0);
        active_.store(0);
        visiting_.store(0);
        new (&wake_) std::condition_variable;
        for (auto& slot : regions_) slot.store(nullptr);
    }
    mutex_.unlock();
}

}  // namespace owl
