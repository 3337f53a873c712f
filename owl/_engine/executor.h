// What the scheduler knows of a device. A backend knows kernels and memory, and nothing of handles or windows.
#pragma once
#include "run.h"

namespace owl {

class Executor {
   public:
    virtual ~Executor() = default;

    // Takes over a run whose inputs exist or come from earlier runs of this executor. Runs are executed in this order.
    virtual void submit(Run* run) = 0;
    // Runs that were submitted and have not finished.
    virtual int backlog() = 0;
    // Nothing to do for so long that waiting for a better plan costs more than it can save.
    virtual bool idle() = 0;

    // nullptr if memory is refused. Freed by Buffer::release.
    virtual Buffer* allocate(size_t bytes) = 0;
    // `data` may be reused when these return.
    virtual bool copy_in(Buffer* buffer, const void* data, size_t bytes) = 0;
    virtual bool copy_out(const Buffer* buffer, void* data, size_t bytes) = 0;
    // The same content where `peer` can read it: a new reference to the same buffer if the devices share memory.
    virtual Buffer* copy_to_peer(Buffer* buffer, Executor* peer) = 0;

    // Signals order work between devices: `signal` marks this executor's queue after what was submitted so far, and
    // `wait` holds this executor's later runs until another's mark is reached. Devices that share the host's memory are
    // ordered by the scheduler instead, which submits a run only when what it needs exists.
    virtual uint64_t signal() = 0;
    virtual void wait(Executor* other, uint64_t signal) = 0;

    // Drops what has not begun and lets what has begun end at the next kernel's border.
    virtual void abort() = 0;
    // For fork: holds the executor at a kernel's border; then, under the graph's lock, freezes its queue; then lets it go on.
    // A forked child has no thread any more, and its queue is empty.
    virtual void quiesce() = 0;
    virtual void freeze() = 0;
    virtual void resume(bool in_child) = 0;
    virtual MemoryInfo memory_info() = 0;
    virtual const KernelTable& kernels() = 0;
};

// `on_idle` is called by the executor's thread, without locks, when it has been idle for a millisecond.
std::unique_ptr<Executor> make_cpu_executor(const KernelTable& kernels, void (*on_idle)());

}  // namespace owl
