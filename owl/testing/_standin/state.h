// All that the stand-in knows, and what every call goes through before it does anything.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <string>
#include <unordered_set>
#include <vector>

#include "_cuda/driver.h"
#include "graphs.h"
#include "memory.h"
#include "streams.h"

namespace owl {
namespace cuda {

// As cuda.h has them.
constexpr Result kInvalidValue = 1, kNotInitialized = 3, kNoDevice = 100, kInvalidDevice = 101, kInvalidImage = 200,
                 kInvalidContext = 201, kInvalidHandle = 400, kNotFound = 500, kIllegalAddress = 700, kNotSupported = 801,
                 kPeerAlreadyEnabled = 704, kPeerUnsupported = 217,
                 kUnknown = 999;

struct Kernel;

struct CUmod_st {
    CUctx_st* context;
    void* library;  // of a kernel that was compiled by itself; nullptr: the catalogue, which is a part of this library
};
using Module = CUmod_st*;

struct CUfunc_st {
    const Kernel* kernel;
    CUmod_st* module;
};

// All objects of one kind. None is ever deleted, so that no handle is given out twice.
template <class T>
class Handles {
   public:
    T* make() {
        all_.push_back(std::make_unique<T>());
        live_.insert(all_.back().get());
        return all_.back().get();
    }
    void retire(T* handle) { live_.erase(handle); }
    bool lives(const T* handle) const { return live_.count(handle); }
    size_t size() const { return all_.size(); }
    auto begin() const { return all_.begin(); }
    auto end() const { return all_.end(); }

   private:
    std::vector<std::unique_ptr<T>> all_;
    std::unordered_set<const T*> live_;
};

// Things to happen at the n-th of some calls.
class Countdown {
   public:
    void set(uint64_t nth) { left_ = nth; }
    bool hit() { return left_ && !--left_; }
    bool is_set() const { return left_; }

   private:
    uint64_t left_ = 0;  // 0: never
};

struct State {
    std::mutex mutex;
    std::condition_variable progress;  // an operation is over, or all is broken
    std::atomic<pid_t> initialized{0};  // by this process; 0: cuInit was not called

    int devices = 1;
    uint64_t seed = 0;
    bool lazy = false;
    bool peers = true;  // a device may read another one's memory by itself
    std::mt19937_64 random{0};

    Memory memory{size_t(1) << 30};
    Handles<CUctx_st> contexts;  // the primary ones, by device
    Handles<CUstream_st> streams;
    Handles<CUevent_st> events;
    Handles<CUmod_st> modules;
    Handles<CUfunc_st> functions;
    Handles<CUgraph_st> graphs;
    Handles<CUgraphNode_st> graph_nodes;
    Handles<CUgraphExec_st> graph_execs;
    int participants = 0;  // of the clocks, beside the host

    Clock host;
    uint64_t operations = 0;
    Result sticky = kSuccess;

    struct Failure {
        uint64_t call;  // of that symbol
        Result code;
    };
    std::map<std::string, uint64_t> calls;  // by symbols
    std::map<std::string, std::vector<Failure>> failures;
    uint64_t waits = 0, copied_bytes = 0;
    uint64_t direct_copies = 0, staged_copies = 0;  // between two devices: by themselves, or through the host's memory
    Countdown skipped_wait, broken_launch;
    std::string skipped_symbol;  // of which calls are counted; all that wait if it is empty
    std::vector<std::string> problems;

    void add_problem(const std::string& text);
    // Counts a call that waits. True: it is one that a test wants to do nothing.
    bool skips_wait(const char* symbol);
};

// It is never destroyed: threads outlive what happens at exit.
State& state();

// The contexts of this thread, the current one last.
std::vector<CUctx_st*>& context_stack();
inline CUctx_st* current_context() { return context_stack().empty() ? nullptr : context_stack().back(); }

// Whether this process is a child of the one that called cuInit: nothing works there, not even the lock.
bool forked();

enum class Needs { nothing, init, context };

// kSuccess, or why a call does nothing.
Result admit(State& now, const char* symbol, Needs needs);

// One call of the driver: body(state, lock). Nothing is thrown across the ABI.
template <class Body>
Result call(const char* symbol, Needs needs, Body body) noexcept {
    if (forked()) return kNotInitialized;
    try {
        State& now = state();
        Lock lock(now.mutex);
        const Result refused = admit(now, symbol, needs);
        return refused ? refused : body(now, lock);
    } catch (const std::bad_alloc&) {
        return kOutOfMemory;
    } catch (...) {
        return kUnknown;
    }
}

}  // namespace cuda
}  // namespace owl
