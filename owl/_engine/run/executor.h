// What the scheduler knows of a device. A backend knows kernels and memory, and nothing of handles or windows.
#pragma once
#include "_engine/plan/backend.h"
#include "run.h"

namespace owl {

// Hears of executors without work.
class IdleListener {
   public:
    virtual ~IdleListener() = default;
    // Called by an executor's thread, without locks, when it has been idle for a millisecond. May submit to it.
    virtual void on_idle() = 0;
};

class Executor {
   public:
    virtual ~Executor() = default;

    // Compiles plans for this device.
    virtual const Backend& backend() const = 0;
    // Where the device's values lie.
    virtual Memory& memory() = 0;
    // Memory that the host fills and the device then reads: it becomes a value, or that of an upload. nullptr if refused.
    virtual Buffer* stage(size_t bytes) = 0;
    // Takes over a run whose inputs exist or come from earlier runs of this executor. Runs are executed in this order.
    virtual void submit(Run* run) = 0;
    // Runs that were submitted and have not finished.
    virtual int backlog() = 0;
    // Whether recording may submit one more, where `bound` runs ahead are many for a CPU.
    virtual bool has_room(int bound) = 0;
    // Nothing to do for so long that waiting for a better plan costs more than it can save.
    virtual bool idle() = 0;

    // Drops what has not begun and lets what has begun end at the next end of a kernel.
    virtual void abort() = 0;
    // For fork: holds the executor at a end of a kernel; then, under the graph's lock, freezes its queue; then lets it go on.
    // A forked child has no thread any more, and its queue is empty.
    virtual void quiesce() = 0;
    virtual void freeze() = 0;
    virtual void resume(bool in_child) = 0;
};

}  // namespace owl
