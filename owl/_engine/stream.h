// A stream of recording: the nodes that one thread or asyncio task has recorded and not yet handed over.
#pragma once
#include <atomic>
#include <deque>
#include <vector>

#include "graph.h"

namespace owl {

// Nodes recorded by one stream between two cuts, across devices. A window holds its nodes; some may have been submitted
// by a demand or died since.
using Window = std::vector<Node*>;

struct RecordingStream {
    uint64_t id = 0;       // in the order of first recording
    uint64_t draws = 0;    // random arrays recorded so far
    int device = -1;       // chosen by `with device:`; -1: the thread's
    bool orphan = false;   // its thread or task has ended
    Window open;           // guarded by the graph's lock: any thread may close it
    // Of the open window, for a look without the lock after every record: how many nodes, and the bytes that they would
    // take if all were stored.
    std::atomic<size_t> open_nodes{0}, open_bytes{0};
    uint64_t random = 0;   // OWL_WINDOW=random: state of the generator that cuts this stream's windows anywhere
    std::deque<Window> waiting;  // closed, until it is known which of their values live on
};

}  // namespace owl
