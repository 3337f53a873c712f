# What owl.testing and owl.show_config look at, and the faults that tests order.

import platform


def isa():
    """The instruction set whose kernels are in use: ``'avx512'``, ``'avx2'`` or ``'generic'``."""
    load_kernels()
    return kernel_table.isa.decode()


def debug_counters():
    """Everything that lives natively: nodes, buffers, runs, closed windows that wait, bytes of host memory in use."""
    cdef MemoryInfo memory = host_memory().info()
    cdef size_t i
    cdef size_t n_waiting = 0
    drain()
    graph().mutex.lock()
    for i in range(streams.size()):
        purge_stream(streams[i])
        n_waiting += streams[i].waiting.size()
    cdef int64_t nodes = graph().live_nodes()
    cdef size_t n_streams = streams.size()
    graph().mutex.unlock()
    return {"nodes": nodes, "buffers": live_buffers(), "runs": live_runs(), "bytes": memory.in_use, "streams": n_streams,
            "waiting": n_waiting}


def planner_counters():
    """How many windows were handed over, how many of their plans were known, and what they stored."""
    graph().mutex.lock()
    cdef PlannerCounters now = counters
    cdef size_t cached = plan_cache.size()
    cdef size_t places = stored_places.size()
    graph().mutex.unlock()
    return {"windows": now.windows, "plans": now.plans, "hits": now.hits, "nodes": now.nodes, "dead": now.dead,
            "leftovers": now.leftovers, "recomputed": now.recomputed, "cached": cached, "stored_places": places,
            "bytes_outside": now.bytes_outside, "bytes_inside": now.bytes_inside}


def clear_plans():
    """Forgets all compiled plans."""
    graph().mutex.lock()
    plan_cache.clear()
    graph().mutex.unlock()


def set_fuse(bint value):
    """Switches fusion on or off, as OWL_FUSE does; returns what it was."""
    global fuse
    graph().mutex.lock()
    was = fuse
    fuse = value
    plan_cache.clear()
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
    global early_start
    cdef bint was
    graph().mutex.lock()
    was = early_start
    early_start = value
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


def set_memory_limit(size):
    """Refuses host memory beyond this many bytes in use; None for no limit."""
    host_memory().set_limit(0 if size is None else max(<size_t>1, <size_t>size))


def memory_info():
    """Bytes of host memory: in use, cached for what comes next, the most ever in use at once, and the limit (0: none)."""
    cdef MemoryInfo memory = host_memory().info()
    return {"in_use": memory.in_use, "cached": memory.cached, "peak": memory.peak, "limit": memory.limit}


def trim_memory():
    """Gives cached memory back to the system."""
    host_memory().trim()


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


def operation_names():
    """The names of all operations, in the order of their numbers."""
    cdef int op
    return [operation_name(<Op>op).decode() for op in range(kOperations)]


cdef extern from *:
    """
    namespace owl { namespace {
    std::vector<Node*>& promised = *new std::vector<Node*>;  // never destroyed
    } }
    """
    vector[Node*] promised "owl::promised"  # held; guarded by the graph's lock


@cython.final
cdef class Promise:
    """The other end of a promised array: somebody gives the value later, from any thread."""

    cdef Node* node
    cdef readonly NArray array

    def __dealloc__(self):
        if self.node is NULL:
            return
        self.array = None  # a handle of ours must not count as somebody who waits
        settle_promise(self.node, NULL, NULL)
        graph().mutex.lock()
        graph().unhold(self.node)
        graph().mutex.unlock()

    def fulfil(self, value):
        """Gives the value, copied from an array of the promised shape and dtype."""
        cdef Py_buffer view
        value = np.ascontiguousarray(value, dtype_object(self.node.dtype))
        if value.shape != numpy_shape(self.node.shape):
            raise ShapeError(f"[Promise] shape {value.shape} was given, {numpy_shape(self.node.shape)} was promised")
        cdef Buffer* buffer = take_memory(value.nbytes, "Promise")
        PyObject_GetBuffer(value, &view, PyBUF_C_CONTIGUOUS)
        memcpy(buffer.data, view.buf, view.len)
        PyBuffer_Release(&view)
        settle_promise(self.node, buffer, NULL)

    def fail(self, str reason):
        """Says that there will be no value, and why."""
        cdef Failure* failure = new Failure(FailureKind.promise, reason.encode())
        settle_promise(self.node, NULL, failure)
        failure.release()


# Under no lock. A promise is settled once; later calls do nothing. Without a value and a failure it is dropped.
cdef void settle_promise(Node* node, Buffer* buffer, Failure* failure) noexcept:
    cdef size_t i
    cdef Failure* dropped = NULL
    graph().mutex.lock()
    for i in range(promised.size()):
        if promised[i] == node:
            promised[i] = promised.back()
            promised.pop_back()
            node.parked = False
            if failure is NULL and buffer is NULL:
                failure = dropped = new Failure(FailureKind.promise, b"the promise was dropped")
                dropped.observed.store(not node.live())
            if failure is not NULL:
                graph().fail(node, failure)
            else:
                graph().complete(node, buffer)
                buffer = NULL
            graph().unhold(node)
            break
    graph().mutex.unlock()
    if buffer is not NULL:
        buffer.release()
    if dropped is not NULL:
        dropped.release()


def promise(shape, dtype=None):
    """A promised array: recorded work may use it at once and runs when the value is given.

    Returns
    -------
    Promise
        Its `array` is the NArray.
    """
    cdef Promise out = Promise.__new__(Promise)
    cdef Shape wanted
    parse_shape(shape, &wanted, "promise")
    cdef NArray array = NArray.__new__(NArray)
    cdef RecordingStream* stream = current_stream()
    array.node = record_leaf(wanted, parse_dtype(dtype, "promise"), current_device(stream), call_site(), NULL, stream)
    graph().mutex.lock()
    graph().hold(array.node)
    graph().hold(array.node)  # one for the list, one for the Promise object
    promised.push_back(array.node)
    graph().mutex.unlock()
    out.node = array.node
    out.array = array
    return out


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
        "fusion": "on" if fuse else "off (OWL_FUSE=0)",
        "gpu": NO_GPU,
    }
    return found
