// Of the driver: streams and events.
#include <memory>

#include "abi.h"

namespace owl {
namespace cuda {

namespace {

constexpr unsigned kNonBlocking = 1;

}  // namespace

// Streams that wait for the legacy default stream are not modelled, nor is that stream: owl has neither.
OWL_STANDIN_EXPORT Result cuStreamCreate(Stream* stream, unsigned flags) {
    return call("cuStreamCreate", Needs::context, [&](State& now, Lock&) -> Result {
        if (!stream) return kInvalidValue;
        if (flags != kNonBlocking) return kNotSupported;
        *stream = now.streams.make();
        (*stream)->number = ++now.participants;
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

Result cuCtxSynchronize() {
    return call("cuCtxSynchronize", Needs::context, [&](State& now, Lock& lock) -> Result {
        if (now.skips_wait("cuCtxSynchronize")) return kSuccess;
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

}  // namespace cuda
}  // namespace owl
