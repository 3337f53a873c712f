// What every launch of a kernel goes through, by itself or as a node of a graph.
#pragma once
#include "graphs.h"
#include "state.h"

namespace owl {
namespace cuda {

// As the driver takes them.
struct LaunchSizes {
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
};

// kSuccess and the launch, or what a driver says to such a one.
Result take_launch(State& now, Function function, const LaunchSizes& sizes, void** parameters, void** extra, Launched* taken);
// Puts it into the stream, as the operation `by`, which comes after all that `clock` knows.
void issue_launch(State& now, CUstream_st& stream, const Launched& launched, const Clock& clock, const Touch& by);

}  // namespace cuda
}  // namespace owl
