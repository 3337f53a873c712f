// What tests steer and ask: not of the driver's ABI.
#include <algorithm>
#include <cstring>

#include "abi.h"
#include "kernels.h"

namespace owl {
namespace cuda {

namespace {

// Runs with the lock; in a forked child nothing does.
template <class Body>
auto locked(Body body) noexcept -> decltype(body(state())) {
    if (forked()) return {};
    Lock lock(state().mutex);
    return body(state());
}

// As far as it fits.
size_t give(const std::string& text, char* buffer, size_t size) {
    if (!size) return text.size();
    const size_t copied = std::min(size - 1, text.size());
    std::memcpy(buffer, text.data(), copied);
    buffer[copied] = 0;
    return text.size();
}

}  // namespace

// Before cuInit all of it; later the seed alone may change. 0, or -1 where something else would have to.
OWL_STANDIN_EXPORT int owl_standin_configure(int devices, size_t memory_bytes, uint64_t seed, int lazy, int peers) {
    return locked([&](State& now) {
        const bool same = now.devices == devices && now.memory.total() == memory_bytes && now.lazy == !!lazy &&
                          now.peers == !!peers;
        if (now.initialized && !same) return -1;
        if (!now.initialized) now.memory = Memory(memory_bytes);
        now.devices = devices;
        now.lazy = lazy;
        now.peers = peers;
        now.seed = seed;
        now.random.seed(seed);
        return 0;
    });
}

// The nth call of a symbol from now returns this and does nothing; 1 is the next one.
OWL_STANDIN_EXPORT void owl_standin_fail(const char* symbol, uint64_t nth, Result code) {
    locked([&](State& now) {
        now.failures[symbol].push_back({now.calls[symbol] + nth, code});
        return 0;
    });
}

// The nth launch from now faults when it runs.
OWL_STANDIN_EXPORT void owl_standin_break(uint64_t nth) {
    locked([&](State& now) {
        now.broken_launch.set(nth);
        return 0;
    });
}

OWL_STANDIN_EXPORT uint64_t owl_standin_calls(const char* symbol) {
    return locked([&](State& now) { return now.calls[symbol]; });
}

// Of the calls that wait (cuStreamWaitEvent, cuEventSynchronize, cuStreamSynchronize, cuCtxSynchronize, and cuEventQuery where the
// event is done) the nth from now succeeds without waiting, and gives no order. Those of one symbol are counted, or all of them
// (""). 0: none.
OWL_STANDIN_EXPORT void owl_standin_skip_wait(const char* symbol, uint64_t nth) {
    locked([&](State& now) {
        now.skipped_symbol = symbol;
        now.skipped_wait.set(nth);
        return 0;
    });
}

// Whether that one is still to come.
OWL_STANDIN_EXPORT int owl_standin_skip_is_pending() {
    return locked([&](State& now) { return now.skipped_wait.is_set(); });
}

OWL_STANDIN_EXPORT uint64_t owl_standin_waits() {
    return locked([&](State& now) { return now.waits; });
}

// Takes what was found wrong, a line each, as far as it fits; returns the bytes of all that there was.
OWL_STANDIN_EXPORT size_t owl_standin_problems(char* buffer, size_t size) {
    return locked([&](State& now) {
        std::string text;
        for (const std::string& problem : now.problems) text += problem + "\n";
        now.problems.clear();
        return give(text, buffer, size);
    });
}

// The nodes of the graph that was instantiated last, a line each: the kernel, then the numbers of the nodes that come before it.
// As far as it fits; returns the bytes of all that there was.
OWL_STANDIN_EXPORT size_t owl_standin_last_graph(char* buffer, size_t size) {
    return locked([&](State& now) {
        std::string text;
        const CUgraph_st none, &graph = now.graph_execs.size() ? (*std::prev(now.graph_execs.end()))->content : none;
        for (size_t node = 0; node < graph.launches.size(); ++node) {
            text += graph.launches[node].function->kernel->name;
            for (size_t earlier : graph.before[node]) text += " " + std::to_string(earlier);
            text += "\n";
        }
        return give(text, buffer, size);
    });
}

// How many bytes were copied so far, by all streams.
OWL_STANDIN_EXPORT uint64_t owl_standin_copied_bytes() {
    return locked([&](State& now) { return now.copied_bytes; });
}

// How many copies went from one device to another by themselves, or else through the host's memory.
OWL_STANDIN_EXPORT uint64_t owl_standin_peer_copies(int direct) {
    return locked([&](State& now) { return direct ? now.direct_copies : now.staged_copies; });
}

OWL_STANDIN_EXPORT void owl_standin_reset_problems() {
    locked([&](State& now) {
        now.problems.clear();
        return 0;
    });
}

// The host reads or writes these bytes now. Those that are not pinned are nothing to a driver.
OWL_STANDIN_EXPORT void owl_standin_host_access(const void* data, size_t bytes, int written) {
    if (!kChecked || !bytes) return;
    locked([&](State& now) {
        const Place place = now.memory.find(reinterpret_cast<Address>(data), bytes);
        if (!place.block || place.block->device != kPinned) return 0;
        const Touch by{0, ++entry(now.host, 0), written ? "a write" : "a read", ++now.operations};
        const std::string wrong = place.block->history.touch(place.offset, place.offset + bytes, written, now.host, by);
        if (!wrong.empty()) now.add_problem(wrong);
        return 0;
    });
}

}  // namespace cuda
}  // namespace owl
