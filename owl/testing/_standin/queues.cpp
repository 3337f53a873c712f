// Of the driver: streams, events, and launches.
#include <cstdio>
#include <memory>
#include <vector>

#include "abi.h"
#include "kernels.h"

namespace owl {
namespace cuda {

namespace {

constexpr unsigned kNonBlocking = 1, kMostThreads = 1024, kMostShared = 48 << 10, kMostHigh = 65535;

// Puts addresses that the host can follow in the place of the device's, and holds each against its block. "" or what is wrong:
// hardware would fault.
std::string translate(State& now, const Kernel& kernel, CUstream_st& stream, const Touch& by, std::vector<char>& arguments,
                      std::vector<Place>& places) {
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
            const std::string race = place.block->history.touch(place.offset, place.offset + bytes, written, stream.clock, by);
            if (!race.empty()) now.add_problem(race);
        }
        places.push_back(place);
        return place.data() - span.first;
    });
    return wrong;
}

// kSuccess, or what a driver says to such a launch.
Result check_launch(State& now, const CUfunc_st& function, unsigned grid, unsigned high, unsigned deep, unsigned block,
                    unsigned others, unsigned shared) {
    if (!grid || !high || !deep || !block || !others || grid > 0x7FFFFFFF || high > kMostHigh || deep > kMostHigh)
        return kInvalidValue;
    if (uint64_t(block) * others > kMostThreads || shared > kMostShared) return kInvalidValue;
    if (function.kernel->argument_bytes > kMostArgumentBytes) return kInvalidValue;
    if (high == 1 && deep == 1 && others == 1 && block == function.kernel->threads) return kSuccess;
    // A driver takes it, and the kernel computes nonsense.
    now.add_problem(std::string(function.kernel->name) + " is launched with blocks that it is not written for: it has " +
                    std::to_string(function.kernel->threads) + " threads in one dimension");
    return kInvalidValue;
}

}  // namespace

// Streams that wait for the legacy default stream are not modelled, nor is that stream: owl has neither.
OWL_STANDIN_EXPORT Result cuStreamCreate(Stream* stream, unsigned flags) {
    return call("cuStreamCreate", Needs::context, [&](State& now, Lock&) -> Result {
        if (!stream) return kInvalidValue;
        if (flags != kNonBlocking) return kNotSupported;
        *stream = now.streams.make();
        (*stream)->number = static_cast<int>(now.streams.size());
        (*stream)->context = current_context();
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuStreamDestroy_v2(Stream stream) {
    return call("cuStreamDestroy_v2", Needs::context, [&](State& now, Lock&) -> Result {
        if (!now.streams.lives(stream)) return kInvalidHandle;
        now.streams.retire(stream);
        stream->destroyed = true;
        stream->arrived.notify_one();
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuStreamQuery(Stream stream) {
    return call("cuStreamQuery", Needs::context, [&](State& now, Lock& lock) -> Result {
        if (!now.streams.lives(stream)) return kInvalidHandle;
        const Result answer = ask(now, lock, [&] { return stream->finished == stream->issued; });
        if (!answer) join(now.host, stream->clock);
        return answer;
    });
}

Result cuStreamSynchronize(Stream stream) {
    return call("cuStreamSynchronize", Needs::context, [&](State& now, Lock& lock) -> Result {
        if (!now.streams.lives(stream)) return kInvalidHandle;
        if (now.skips_wait("cuStreamSynchronize")) return kSuccess;
        const uint64_t last = stream->issued;
        const Clock clock = stream->clock;
        if (const Result error = wait_until(now, lock, [&] { return stream->finished >= last; })) return error;
        join(now.host, clock);
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuCtxSynchronize() {
    return call("cuCtxSynchronize", Needs::context, [&](State& now, Lock& lock) -> Result {
        const Context context = current_context();
        for (size_t k = 0; k < now.streams.size(); ++k) {
            CUstream_st& stream = **(now.streams.begin() + static_cast<std::ptrdiff_t>(k));
            if (stream.context != context) continue;
            const uint64_t last = stream.issued;
            const Clock clock = stream.clock;
            if (const Result error = wait_until(now, lock, [&] { return stream.finished >= last; })) return error;
            join(now.host, clock);
        }
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuEventCreate(Event* event, unsigned) {
    return call("cuEventCreate", Needs::context, [&](State& now, Lock&) -> Result {
        if (!event) return kInvalidValue;
        *event = now.events.make();
        (*event)->context = current_context();
        return kSuccess;
    });
}

OWL_STANDIN_EXPORT Result cuEventDestroy_v2(Event event) {
    return call("cuEventDestroy_v2", Needs::context, [&](State& now, Lock&) -> Result {
        if (!now.events.lives(event)) return kInvalidHandle;
        now.events.retire(event);
        return kSuccess;
    });
}

Result cuEventRecord(Event event, Stream stream) {
    return call("cuEventRecord", Needs::context, [&](State& now, Lock&) -> Result {
        if (!now.events.lives(event) || !now.streams.lives(stream) || event->context != stream->context)
            return kInvalidHandle;
        tick(now, *stream, "cuEventRecord");
        Operation operation;
        operation.records = event->last = std::make_shared<Recording>();
        operation.records->clock = stream->clock;
        issue(now, *stream, std::move(operation));
        return kSuccess;
    });
}

// An event that was never recorded is done.
Result cuEventQuery(Event event) {
    return call("cuEventQuery", Needs::context, [&](State& now, Lock& lock) -> Result {
        if (!now.events.lives(event)) return kInvalidHandle;
        const auto recording = event->last;
        const Result answer = ask(now, lock, [&] { return !recording || recording->done; });
        if (answer || now.skips_wait("cuEventQuery")) return answer;
        if (recording) join(now.host, recording->clock);
        return kSuccess;
    });
}

Result cuEventSynchronize(Event event) {
    return call("cuEventSynchronize", Needs::context, [&](State& now, Lock& lock) -> Result {
        if (!now.events.lives(event)) return kInvalidHandle;
        if (now.skips_wait("cuEventSynchronize")) return kSuccess;
        const auto recording = event->last;
        if (!recording) return kSuccess;
        if (const Result error = wait_until(now, lock, [&] { return recording->done; })) return error;
        join(now.host, recording->clock);
        return kSuccess;
    });
}

Result cuStreamWaitEvent(Stream stream, Event event, unsigned flags) {
    return call("cuStreamWaitEvent", Needs::context, [&](State& now, Lock&) -> Result {
        if (flags) return kInvalidValue;
        if (!now.events.lives(event) || !now.streams.lives(stream)) return kInvalidHandle;
        if (now.skips_wait("cuStreamWaitEvent") || !event->last) return kSuccess;
        join(stream->clock, event->last->clock);
        Operation operation;
        operation.waits = event->last;
        issue(now, *stream, std::move(operation));
        return kSuccess;
    });
}

Result cuLaunchKernel(Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream stream, void** parameters,
                      void** extra) {
    return call("cuLaunchKernel", Needs::context, [&](State& now, Lock&) -> Result {
        if (!now.functions.lives(function) || !now.modules.lives(function->module)) return kInvalidHandle;
        if (!now.streams.lives(stream) || stream->context != function->module->context) return kInvalidHandle;
        const unsigned others = block_y > kMostThreads || block_z > kMostThreads ? kMostThreads + 1 : block_y * block_z;
        if (const Result refused = check_launch(now, *function, grid_x, grid_y, grid_z, block_x, others, shared_bytes))
            return refused;
        if (extra || !parameters || !parameters[0]) return kInvalidValue;

        const Kernel& kernel = *function->kernel;
        const auto* given = static_cast<const char*>(parameters[0]);
        auto arguments = std::make_shared<std::vector<char>>(given, given + kernel.argument_bytes);
        const Touch by = tick(now, *stream, kernel.name);
        std::vector<Place> places;
        const std::string wrong = translate(now, kernel, *stream, by, *arguments, places);
        if (!wrong.empty()) now.add_problem(wrong);
        Operation operation;
        operation.breaks = now.broken_launch.hit() || !wrong.empty();
        operation.work = [&kernel, arguments, places, grid_x, seed = now.seed + by.number] {
            return kernel.run(kernel.name, arguments->data(), grid_x, seed);
        };
        issue(now, *stream, std::move(operation));
        return kSuccess;
    });
}

}  // namespace cuda
}  // namespace owl
