#include "streams.h"

#include <pthread.h>
#include <signal.h>

#include <thread>
#include <vector>

#include "state.h"

namespace owl {
namespace cuda {

namespace {

bool may_run(const CUstream_st& stream) { return !stream.queue.empty() && stream.queue.front().may_run(); }

// Runs the first operation of a stream. Other threads go on meanwhile if there are threads.
void run_first(State& state, CUstream_st& stream, Lock& lock, bool unlock) {
    Operation operation = std::move(stream.queue.front());
    stream.queue.pop_front();
    if (operation.breaks) {
        break_all(state);
        return;
    }
    std::string wrong;
    if (operation.work) {
        if (unlock) lock.unlock();
        wrong = operation.work();
        operation.work = nullptr;  // lets go of memory
        if (unlock) lock.lock();
    }
    if (!wrong.empty()) state.add_problem(wrong);
    ++stream.finished;
    if (operation.records) {
        operation.records->done = true;
        for (auto& other : state.streams) other->arrived.notify_one();
    }
    state.progress.notify_all();
}

// One operation of any stream; false if none may run.
bool step(State& state, Lock& lock) {
    std::vector<CUstream_st*> runnable;
    for (auto& stream : state.streams)
        if (may_run(*stream)) runnable.push_back(stream.get());
    if (runnable.empty()) return false;
    run_first(state, *runnable[state.random() % runnable.size()], lock, false);
    return true;
}

// What is in a stream when it is destroyed still runs.
void run_all(State& state, CUstream_st& stream) {
    Lock lock(state.mutex);
    for (;;) {
        stream.arrived.wait(lock, [&] { return may_run(stream) || (stream.destroyed && stream.queue.empty()); });
        if (stream.queue.empty()) return;
        run_first(state, stream, lock, true);
    }
}

// It ends with its stream, or it is there until the process is gone, as a driver's own threads are. Signals are for the
// program's threads.
void start_thread(State& state, CUstream_st& stream) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    std::thread([&state, &stream] { run_all(state, stream); }).detach();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    stream.has_thread = true;
}

}  // namespace

Touch tick(State& state, CUstream_st& stream, const char* name) {
    join(stream.clock, state.host);
    return tick(state, stream.clock, stream.number, name);
}

Touch tick(State& state, Clock& clock, int participant, const char* name) {
    return {participant, ++entry(clock, participant), name, ++state.operations};
}

void issue(State& state, CUstream_st& stream, Operation operation) {
    if (!state.lazy && !stream.has_thread) start_thread(state, stream);
    stream.queue.push_back(std::move(operation));
    ++stream.issued;
    if (!state.lazy) stream.arrived.notify_one();
}

Result wait_until(State& state, Lock& lock, const std::function<bool()>& done) {
    while (!state.sticky && !done()) {
        if (!state.lazy) {
            state.progress.wait(lock);
        } else if (!step(state, lock)) {
            state.add_problem("a wait that nothing can end");
            return kUnknown;
        }
    }
    return state.sticky;
}

Result ask(State& state, Lock& lock, const std::function<bool()>& done) {
    if (state.lazy)
        for (auto steps = 1 + state.random() % 3; steps && !state.sticky && !done(); --steps) step(state, lock);
    if (state.sticky) return state.sticky;
    return done() ? kSuccess : kNotReady;
}

void break_all(State& state) {
    state.sticky = kIllegalAddress;
    for (auto& stream : state.streams) stream->queue.clear();
    state.progress.notify_all();
}

}  // namespace cuda
}  // namespace owl
