// Plans that are not known yet are compiled without the graph's lock. The run is made first: it has its place in the order of
// submitting and waits for its plan as it does for promised values, and so does what needs its values; all else goes on.
#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "_engine/plan/plan_cache.h"

namespace owl {

struct RecordingStream;
struct Run;
class Scheduler;

struct Compilation {
    Canonical key;
    std::vector<Node*> nodes;  // that the key describes; held
    Run* run = nullptr;
    std::shared_ptr<Plan> plan;  // should it be a new one
    uint64_t number = 0;    // of the plan
    uint64_t entry = 0;     // of the run in the trace
    uint64_t cleared = 0;   // how often the cache of plans had been cleared
    bool fuse = true;
    RecordingStream* behind = nullptr;  // whose recording waits until the plan is known; nullptr: its own thread compiles
    bool undecided = false;  // the plan may leave values over: until it is known, the nodes keep what they read
    bool released = false;   // they have let go of it
};
using Compilations = std::vector<std::unique_ptr<Compilation>>;

// Compiles for executors' threads, which have runs to execute.
class CompileThread {
   public:
    explicit CompileThread(Scheduler* scheduler) : scheduler_(scheduler) {}
    ~CompileThread();
    CompileThread(const CompileThread&) = delete;

    // Takes the work over. False, with the work untouched, if the system gives no thread.
    bool take(Compilations* work);
    // In a forked child: the thread is the parent's.
    void forget();

   private:
    void loop();

    Scheduler* const scheduler_;
    std::mutex mutex_;
    std::condition_variable wake_;
    Compilations work_;
    std::thread thread_;
    bool stopping_ = false;
};

}  // namespace owl
