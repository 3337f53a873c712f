// Graphs of kernels, and what a driver makes of one to launch it.
#pragma once
#include <cstddef>
#include <vector>

#include "_cuda/driver.h"

namespace owl {
namespace cuda {

// A launch as it was asked for.
struct Launched {
    Function function = nullptr;
    unsigned blocks = 0;
    std::vector<char> arguments;
};

// Handles point to these.
struct CUgraphNode_st {
    CUgraph_st* graph;
    size_t number;
};

struct CUgraph_st {
    std::vector<Launched> launches;
    std::vector<std::vector<size_t>> before;  // of each node those that come before it
};

struct CUgraphExec_st {
    const CUgraph_st* graph = nullptr;  // its nodes are named by the graph's
    CUgraph_st content;
};

}  // namespace cuda
}  // namespace owl
