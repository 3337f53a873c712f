// Streams, events, and the two ways to run what is in streams.
//
// Lazily: nothing runs before the host waits or asks; then one operation after the other, chosen by a seed among the first ones
// of all streams. So everything happens as late as the waits allow, and the same seed gives the same order. Or by threads: each
// stream has one.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "_cuda/driver.h"
#include "checker.h"

namespace owl {
namespace cuda {

// What one cuEventRecord asked for. An event has the last one's; waits for an event have the one that was the last when they were
// made.
struct Recording {
    bool done = false;
    Clock clock;
};

struct Operation {
    std::function<std::string()> work;  // returns what was wrong, or ""
    std::shared_ptr<Recording> records, waits;
    bool breaks = false;  // it is the one that a test wants to fault

    bool may_run() const { return !waits || waits->done; }
};

// Handles point to these.
struct CUctx_st {
    int device = 0;
    std::vector<const CUctx_st*> peers;  // whose memory it may read
};

struct CUstream_st {
    int number = 0;  // as a participant of the clocks, from 1
    CUctx_st* context = nullptr;
    bool has_thread = false, destroyed = false;
    uint64_t issued = 0, finished = 0;
    std::deque<Operation> queue;
    std::condition_variable arrived;  // something may run
    Clock clock;                      // of the last operation issued
    std::vector<int> branches;        // participants of the clocks: a graph's nodes may overlap
};

struct CUevent_st {
    CUctx_st* context = nullptr;
    std::shared_ptr<Recording> last;  // nullptr: never recorded
};

struct State;
using Lock = std::unique_lock<std::mutex>;

// The time of an operation that is issued now, after all that its stream and the host know.
Touch tick(State& state, CUstream_st& stream, const char* name);
// The same for one of the clocks' participants, after all that `clock` knows.
Touch tick(State& state, Clock& clock, int participant, const char* name);
void issue(State& state, CUstream_st& stream, Operation operation);
// Waits until done() holds; kSuccess, or the sticky error.
Result wait_until(State& state, Lock& lock, const std::function<bool()>& done);
// Lets a few operations run if that has to be asked for, and asks again.
Result ask(State& state, Lock& lock, const std::function<bool()>& done);
// The context is lost: nothing that is queued runs.
void break_all(State& state);

}  // namespace cuda
}  // namespace owl
