# What owl.testing and owl.show_config look at, and the faults that tests order.

import platform


def isa():
    """The instruction set whose kernels are in use: ``'avx512'``, ``'avx2'`` or ``'generic'``."""
    load_kernels()
    return kernel_table.isa.decode()


def debug_counters():
    """Everything that lives natively: nodes, buffers, runs, closed windows that wait, bytes in use on all devices."""
    cdef size_t i
    cdef size_t n_waiting = 0
    release_deferred()
    graph().mutex.lock()
    for i in range(scheduler().streams.size()):
        scheduler().purge_stream(scheduler().streams[i])
        n_waiting += scheduler().streams[i].waiting.size()
    # Under one lock, as runs end: no node or buffer of a run is counted that is not.
    cdef int64_t nodes = graph().live_nodes()
    cdef int64_t runs = live_runs()
    cdef int64_t buffers = live_buffers()
    cdef size_t n_streams = scheduler().streams.size()
    cdef LockCounters locks = graph().mutex.counters()
    graph().mutex.unlock()
    found = {"nodes": nodes, "buffers": buffers, "runs": runs, "bytes": bytes_in_use(), "streams": n_streams,
             "waiting": n_waiting}
    return found | {"locks taken": locks.taken, "locks contended": locks.contended} if kDebug else found


def host_copies():
    """How many copies of the host's memory were shared out to the CPU's threads."""
    return shared_copies()


def planner_counters():
    """How many windows were submitted, how many of their plans were known, and what they stored."""
    graph().mutex.lock()
    cdef SchedulerCounters now = scheduler().counters
    cdef size_t cached = scheduler().plans.size()
    cdef size_t places = scheduler().stored_places.size()
    graph().mutex.unlock()
    return {"windows": now.windows, "plans": now.plans, "hits": now.hits, "nodes": now.nodes, "dead": now.dead,
            "leftovers": now.rematerializable_nodes, "recomputed": now.recomputed, "cached": cached, "stored_places": places,
            "bytes_outside": now.bytes_outside, "bytes_inside": now.bytes_inside}


def clear_plans():
    """Forgets all compiled plans."""
    graph().mutex.lock()
    scheduler().plans.clear()
    graph().mutex.unlock()
    empty_plan_bin()


def set_fuse(bint value):
    """Switches fusion on or off, as OWL_FUSE does; returns what it was."""
    graph().mutex.lock()
    was = scheduler().fuse
    scheduler().fuse = value
    scheduler().plans.clear()
    graph().mutex.unlock()
    return was


def set_random_windows(seed):
    """Cuts windows at random places, as OWL_WINDOW=random does; None switches it off."""
    global window_random
    window_random = 0 if seed is None else (0x9E3779B97F4A7C15 ^ (int(seed) & 0xFFFFFFFF)) | 1


def set_early_start(bint value):
    """Whether an idle executor makes closed windows start before they have settled; returns what it was.

    Off, what the planner does depends on what was recorded alone, and no more on time.
    """
    cdef bint was
    graph().mutex.lock()
    was = scheduler().early_start
    scheduler().early_start = value
    graph().mutex.unlock()
    return was


def set_bounds(nodes=None, bytes=None, runs=None):
    """Sets the bounds of a window and of the backlog; returns what they were."""
    global run_bound
    was = {"nodes": window_bounds().nodes.load(), "bytes": window_bounds().bytes.load(), "runs": run_bound}
    if nodes is not None:
        window_bounds().nodes.store(nodes)
    if bytes is not None:
        window_bounds().bytes.store(bytes)
    if runs is not None:
        run_bound = runs
    return was


# The memory of a device; the host's without one.
cdef Memory* memory_of_device(device, str caller) except NULL:
    if device is None:
        return &host_memory()
    return &scheduler().executors[check_device(device, caller)].memory()


def set_memory_limit(size, device=None):
    """Refuses memory beyond this many bytes in use, on a device or (None) the host; None for no limit."""
    memory_of_device(device, "memory_limit").set_limit(0 if size is None else max(<size_t>1, <size_t>size))


def memory_info(device=None):
    """Bytes of a device's memory or (None) the host's: in use, cached for what comes next, the most ever in use at once, and
    the limit (0: none)."""
    cdef MemoryInfo memory = memory_of_device(device, "memory_info").info()
    return {"in_use": memory.in_use, "cached": memory.cached, "peak": memory.peak, "limit": memory.limit}


def trim_memory(device=None):
    """Gives cached memory of a device or (None) the host back to the system."""
    empty_plan_bin()
    memory_of_device(device, "trim_memory").trim()


def inject_fault(operation, kind="injected", int skip=0, int count=1):
    """Makes kernels that contain this operation fail: after `skip` of them, the next `count`."""
    cdef int op
    for op in range(kOperations):
        if operation_name(<Op>op).decode() == operation:
            arm_fault(<Op>op, FailureKind.out_of_memory if kind == "out_of_memory" else FailureKind.injected, skip, count)
            return
    raise OwlValueError(f"[inject_fault] there is no operation {operation!r}")


def clear_faults():
    """Takes back all faults that were ordered."""
    disarm_faults()


def set_delay(int microseconds):
    """Pauses before every kernel."""
    set_kernel_delay(microseconds)


def hold_compile(bint on):
    """Whether plans that are to be compiled wait, and with them all that needs their values."""
    if on:
        hold_compilations()
    else:
        let_compilations_go()


def held_compilations():
    """How many compilations wait now."""
    return compilations_held()


def buffer_address(NArray array not None):
    """Where a value lies, as its device takes it: no address of the host's on a device that has a memory of its own."""
    cdef Buffer* buffer = evaluate(array)
    address = <size_t>buffer.data
    buffer.release()
    return address


def operation_names():
    """The names of all operations, in the order of their numbers."""
    cdef int op
    return [operation_name(<Op>op).decode() for op in range(kOperations)]


cdef str cublas_in_words():
    from owl._cuda import cublas

    return cublas.outcome


cdef str gpu_in_words():
    from owl._cuda import nvml

    return nvml.missing() or ", ".join(nvml.gpu_names())


def config():
    """What `owl.show_config` prints, as a dict."""
    load_kernels()
    found = {
        "instruction set": f"{kernel_table.isa.decode()} ({kernel_table.vector_bytes}-byte vectors)",
        "threads": str(team().size()),
        "devices": ", ".join(device_names) or "none created yet",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "build": "debug (OWL_DEBUG=1)" if kDebug else "release",
        "fusion": "on" if scheduler().fuse else "off (OWL_FUSE=0)",
        "gpu": gpu_in_words(),
        "cublas": cublas_in_words(),
    }
    return found
