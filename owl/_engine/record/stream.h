// A stream of recording: the nodes that one thread or asyncio task has recorded and not yet submitted.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "detector.h"
#include "_engine/graph/graph.h"
#include "_engine/memory/memory.h"

namespace owl {

// How much an open window may hold.
struct WindowBounds {
    std::atomic<size_t> nodes{4096};
    std::atomic<size_t> bytes{machine_memory() / 4};
};
WindowBounds& window_bounds();

// Nodes recorded by one stream between two cuts, across devices. A window holds its nodes; some may have been submitted
// by a request, adopted by another stream, or died since.
using Window = std::vector<Node*>;

// Why a window ends where it ends.
enum class CutReason : uint8_t { anchor, bounds, random, request, wait_for_all, pause };

// A closed window that is not submitted yet. A loop's names are bound anew one step late: a moment later the values of
// the step before have died, and need not be stored.
struct ClosedWindow {
    Window nodes;
    uint64_t hash = 0;
    CutReason cut = CutReason::anchor;
    bool known = false;  // an identical window was seen, and which of its values were still referenced
    std::vector<uint32_t> readers_inside;  // of each node: readers among the others
    std::vector<uint32_t> expected_dead;   // nodes that could no longer be seen then
    size_t checked = 0;                    // so many of expected_dead are dead already

    // Drops what has gone elsewhere, and looks how the rest depends on itself.
    void close(const RecordingStream* stream);
    // True once everything that died last time has died now.
    bool settled();
    // Whether a node can be seen outside the window.
    bool sees(size_t i) const {
        const Node* node = nodes[i];
        return node->state == State::recorded && (node->handles > 0 || node->readers > readers_inside[i]);
    }
};

// A stream of random numbers: whose they are, and how many arrays were drawn from it.
struct RandomNumbers {
    uint64_t identity = 0;
    uint64_t draws = 0;
};

struct RecordingStream {
    uint64_t id = 0;       // in the order of first recording
    // What the code that runs now draws from, and what its thread or task draws from where no name was entered; each as of
    // a seed. Looked at with the GIL.
    std::shared_ptr<RandomNumbers> numbers, own_numbers;
    uint64_t numbers_era = 0, own_era = 0;
    int device = -1;       // chosen by `with device:`; -1: the thread's
    bool orphan = false;   // its thread or task has ended, and its Context is gone
    bool ended = false;    // its task has ended, though it is still referenced
    void* holder = nullptr;  // a task's stream: the object that ties it to the task's Context, to be looked at with the GIL
    bool differentiates = false;  // `site` or `tape` is set
    bool attention = false;  // a cut was found, a closed window has settled, or the open one is full; set while recording
    uint32_t site = 0;     // where what is recorded counts as recorded; 0: at the caller's line
    void* tape = nullptr;  // of the innermost call that is being differentiated, to be looked at with the GIL
    void* draws = nullptr; // of the innermost call that can be made again, likewise
    int compiling = 0;     // plans of what it recorded that other threads compile: it waits for them before it records on
    uint64_t random = 0;   // OWL_WINDOW=random: state of the generator that cuts this stream's windows anywhere
    uint64_t cut = 0;      // the place in the stream where a new window begins; 0: none
    size_t open_bytes = 0; // what the open window's nodes would take if all were stored
    Window open;
    std::vector<ClosedWindow> waiting;  // the oldest first; rarely more than one
    Window rematerializable_nodes;      // computed inside plans but not stored
    Detector detector;

    // Requests and rounds, to recognise a loop that asks for something at the end of every round.
    uint64_t round_start = 0, last_request = 0;
    uint64_t tails[2] = {1, 1};   // nodes between the last request and the end of the last two rounds
    uint64_t rounds[2] = {0, 0};  // lengths of the last two rounds
    bool ends_with_request() const {
        const uint64_t length = detector.recorded() - round_start;
        return !tails[0] && !tails[1] && (length == rounds[0] || length == rounds[1]);
    }
    void note_request();
    void note_cut(uint64_t place);
    // The closed window in which a node waits, nullptr if it does not.
    const ClosedWindow* waiting_window(const Node* node) const;
    // What it recorded is up for adoption by the code that uses it.
    bool abandoned() const { return orphan || ended; }
    // As new, with the room that it has, for the next task; false if it has grown too large to be kept.
    bool reset();
};

inline RecordingStream* stream_of(const Node* node) { return node->stream; }
void sort_by_sequence(std::vector<Node*>* nodes);
// Lets go of nodes that were submitted or left over, have died, or went over to another stream. Returns a hash of what
// stays, and of which of it has a handle.
uint64_t purge(const RecordingStream* stream, Window* window);

}  // namespace owl
