#include "launches.h"

#include <cstdio>
#include <memory>

#include "abi.h"
#include "kernels.h"

namespace owl {
namespace cuda {

namespace {

constexpr unsigned kMostThreads = 1024, kMostShared = 48 << 10, kMostHigh = 65535;

// kSuccess, or what a driver says to such a launch.
Result check_sizes(State& now, const CUfunc_st& function, const LaunchSizes& s) {
    if (!s.grid_x || !s.grid_y || !s.grid_z || !s.block_x || !s.block_y || !s.block_z) return kInvalidValue;
    if (s.grid_x > 0x7FFFFFFF || s.grid_y > kMostHigh || s.grid_z > kMostHigh) return kInvalidValue;
    const unsigned others = s.block_y > kMostThreads || s.block_z > kMostThreads ? kMostThreads + 1 : s.block_y * s.block_z;
    if (uint64_t(s.block_x) * others > kMostThreads || s.shared_bytes > kMostShared) return kInvalidValue;
    if (function.kernel->argument_bytes > kMostArgumentBytes) return kInvalidValue;
    if (s.grid_y == 1 && s.grid_z == 1 && others == 1 && s.block_x == function.kernel->threads) return kSuccess;
    // A driver takes it, and the kernel computes nonsense.
    now.add_problem(function.kernel->name + " is launched with blocks that it is not written for: it has " +
                    std::to_string(function.kernel->threads) + " threads in one dimension");
    return kInvalidValue;
}

}  // namespace

std::string translate(State& now, const Kernel& kernel, const CUstream_st& stream, const Clock& clock, const Touch& by,
                      std::vector<char>& arguments, std::vector<Place>& places) {
    std::string wrong;
    kernel.visit(arguments.data(), widths(kernel.name), [&](const void* address, bool written, Span span) -> const void* {
        const Address number = reinterpret_cast<Address>(address);
        const size_t bytes = static_cast<size_t>(span.last - span.first);
        const Place place = now.memory.find(number + static_cast<Address>(span.first), bytes);
        if (!place.block || (place.block->device != kPinned && place.block->device != stream.context->device)) {
            char text[32];
            std::snprintf(text, sizeof text, "0x%llx", number);
            if (wrong.empty())
                wrong = by.text() + (written ? " writes " : " reads ") + std::to_string(bytes) + " bytes at " + text +
                        ", which do not lie in memory of its device";
            return address;
        }
        if (kChecked) {
            const std::string race = place.block->history.touch(place.offset, place.offset + bytes, written, clock, by);
            if (!race.empty()) now.add_problem(race);
        }
        places.push_back(place);
        return place.data() - span.first;
    });
    return wrong;
}

Result take_launch(State& now, Function function, const LaunchSizes& sizes, void** parameters, void** extra, Launched* taken) {
    if (!now.functions.lives(function) || !now.modules.lives(function->module)) return kInvalidHandle;
    if (const Result refused = check_sizes(now, *function, sizes)) return refused;
    if (extra || !parameters || !parameters[0]) return kInvalidValue;
    const auto* given = static_cast<const char*>(parameters[0]);
    *taken = {function, sizes.grid_x, {given, given + function->kernel->argument_bytes}};
    return kSuccess;
}

void issue_launch(State& now, CUstream_st& stream, const Launched& launched, const Clock& clock, const Touch& by) {
    const Kernel& kernel = *launched.function->kernel;
    auto arguments = std::make_shared<std::vector<char>>(launched.arguments);
    std::vector<Place> places;
    const std::string wrong = translate(now, kernel, stream, clock, by, *arguments, places);
    if (!wrong.empty()) now.add_problem(wrong);
    Operation operation;
    operation.breaks = now.broken_launch.hit() || !wrong.empty();
    operation.work = [&kernel, arguments, places, blocks = launched.blocks, seed = now.seed + by.number] {
        return kernel.run(kernel.name.c_str(), arguments->data(), blocks, seed);
    };
    issue(now, stream, std::move(operation));
}

Result cuLaunchKernel(Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream stream, void** parameters,
                      void** extra) {
    return call("cuLaunchKernel", Needs::context, [&](State& now, Lock&) -> Result {
        const LaunchSizes sizes{grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes};
        Launched launched;
        if (const Result refused = take_launch(now, function, sizes, parameters, extra, &launched)) return refused;
        if (!now.streams.lives(stream) || stream->context != function->module->context) return kInvalidHandle;
        const Touch by = tick(now, *stream, function->kernel->name.c_str());
        issue_launch(now, *stream, launched, stream->clock, by);
        return kSuccess;
    });
}

}  // namespace cuda
}  // namespace owl
