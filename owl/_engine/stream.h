// A stream of recording: the nodes that one thread or asyncio task has recorded and not yet handed over.
#pragma once
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
    size_t open_bytes = 0; // what the open window's nodes would take if all were stored
    Window open;
    std::deque<Window> waiting;  // closed, until it is known which of their values live on
};

}  // namespace owl
