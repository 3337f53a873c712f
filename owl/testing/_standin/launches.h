// What launches of kernels, by themselves or as nodes of a graph, and what is computed by kernels, have in common.
#pragma once
#include <string>
#include <vector>

#include "graphs.h"
#include "kernels.h"
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
// Puts addresses that the host can follow in the place of the device's, and holds each against its block. "" or what is wrong:
// hardware would fault.
std::string translate(State& now, const Kernel& kernel, const CUstream_st& stream, const Clock& clock, const Touch& by,
                      std::vector<char>& arguments, std::vector<Place>& places);

}  // namespace cuda
}  // namespace owl
