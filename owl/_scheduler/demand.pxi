# Demands: somebody asks for values. What they need and nothing else is handed over; the rest stays recorded.


cdef extern from *:
    """
    namespace owl { namespace {
    Window& needed = *new Window;  // what the demand at hand needs; kept for its room
    } }
    """
    Window needed "owl::needed"  # guarded by the graph's lock


# Under the graph's lock.
cdef void demand(Node** targets, int count) noexcept nogil:
    cdef Window whole
    cdef RecordingStream* stream
    cdef int k
    cdef bint all_stands = True  # nothing was handed over since the ancestors were looked for
    trace.release = Release.demand
    for k in range(count):
        graph().pin(targets[k])  # what is asked for is stored
    graph().ancestors(targets, count, &needed)
    stream = asking_stream(needed)
    if stream is not NULL:
        all_stands = not run_waiting_ancestors(needed)
        if stream.ends_with_demand():
            # Each of the last rounds ended like this, so the round is complete: it goes as one plan.
            whole.swap(stream.open)
            stream.open_bytes = 0
            purge(stream, &whole)
            stream.note_demand()
            trace.border = Border.demand
            hand_over(whole, True, True)
            all_stands = False
        else:
            stream.note_demand()
    if not all_stands:
        graph().ancestors(targets, count, &needed)
    trace.border = Border.demand
    hand_over(needed, True, False)
    for k in range(count):
        graph().unpin(targets[k])


# The stream that recorded the newest of these; leftovers belong to rounds that are over.
cdef RecordingStream* asking_stream(const Window& nodes) noexcept nogil:
    cdef size_t i = nodes.size()
    while i:
        i -= 1
        if not nodes[i].leftover:
            return nodes[i].stream
    return NULL


# Waiting windows that hold something which is needed are handed over whole. Returns whether there were any.
cdef bint run_waiting_ancestors(const Window& nodes) noexcept nogil:
    cdef size_t i
    cdef bint any_found = False
    cdef bint found = True
    while found:
        found = False
        for i in range(nodes.size()):
            if nodes[i].state == State.recorded and not nodes[i].leftover and nodes[i].stream.waiting_window(nodes[i]):
                run_first_waiting(nodes[i].stream, False, True)
                any_found = found = True
                break
    return any_found


# Under the graph's lock. `site`: the line that asks.
cdef void demand_at(Node* node, uint32_t site) noexcept nogil:
    if node.state == State.recorded:
        trace.asked_at = site
        demand(&node, 1)
        trace.asked_at = 0


cdef int start(NArray array) except -1:
    drain()
    cdef uint32_t site = call_site()
    with nogil:
        graph().mutex.lock()
        demand_at(array.node, site)
        graph().mutex.unlock()
    return 0


# Blocks without the GIL until the node is done or failed; wakes often enough to run signal handlers.
cdef int wait_finished(Node* node) except -1:
    cdef ThreadWaiter* waiter = new ThreadWaiter()
    cdef bint finished
    try:
        with nogil:
            graph().mutex.lock()
            finished = node.finished()
            if not finished:
                graph().add_waiter(node, waiter)
            graph().mutex.unlock()
        while not finished:
            with nogil:
                finished = waiter.wait(50)
            if not finished:
                PyErr_CheckSignals()
    finally:
        graph().mutex.lock()
        graph().remove_waiter(node, waiter)
        graph().mutex.unlock()
        del waiter
    drain()
    return 0


cdef bint ending = False  # owl's exit handler has begun


# A daemon thread whose work was dropped because the program ends: an exception would only be printed. It ends where it
# wants the GIL back from an interpreter that is gone.
cdef int sleep_until_the_end() except -1:
    while True:
        with nogil:
            progress().wait(progress().count(), 50)


# The finished value's buffer, retained for the caller; raises the failure if there is none.
cdef Buffer* take_buffer(Node* node) except NULL:
    cdef Buffer* buffer = NULL
    cdef Failure* failure = NULL
    graph().mutex.lock()
    if node.state == State.done:
        buffer = node.buffer.retain()
    elif node.state == State.failed:
        failure = node.failure.retain()
    graph().mutex.unlock()
    if buffer is not NULL:
        return buffer
    if failure is NULL:
        raise OwlError("a value was asked for before it was finished")
    if ending and failure.kind == FailureKind.dropped and threading.current_thread() is not threading.main_thread():
        failure.release()
        sleep_until_the_end()
    error = make_exception(failure)
    failure.release()
    raise error


# A handle of its own keeps the value while Python runs: another thread, or a signal handler, may point the caller's
# NArray at another value by then.
cdef Buffer* evaluate(NArray array) except NULL:
    cdef Node* node
    cdef bint finished
    cdef uint32_t site
    graph().mutex.lock()
    node = array.node
    graph().add_handle(node)
    finished = node.finished()
    graph().mutex.unlock()
    try:
        if not finished:
            drain()
            site = call_site()
            with nogil:
                graph().mutex.lock()
                demand_at(node, site)
                graph().mutex.unlock()
            wait_finished(node)
        return take_buffer(node)
    finally:
        graph().mutex.lock()
        graph().drop_handle(node)
        graph().mutex.unlock()


# The number of the last run, to wait for: not for what other threads hand over from then on, for they may never stop.
cdef uint64_t hand_over_all() noexcept:
    cdef size_t i
    cdef uint64_t last
    drain()
    with nogil:
        graph().mutex.lock()
        for i in range(streams.size()):
            flush(streams[i])
        last = runs_handed_over()
        graph().mutex.unlock()
    return last


def wait_for_all():
    """Computes everything that was recorded and can still be seen, on all devices, and waits for it.

    Raises nothing about failed operations: a failure is raised where its value is asked for. Blocks without the GIL and
    runs signal handlers; any thread may call it.

    Examples
    --------
    >>> x = owl.zeros([3]) + 1
    >>> owl.wait_for_all()
    >>> x.state
    'done'
    """
    cdef uint64_t seen
    cdef uint64_t last = hand_over_all()
    cdef bint busy
    while True:
        with nogil:
            seen = progress().count()
            graph().mutex.lock()
            busy = any_run_within(last)
            graph().mutex.unlock()
            if busy:
                progress().wait(seen, 50)
        if not busy:
            break
        PyErr_CheckSignals()
    drain()


# Memory that the caller fills. Where it is refused, runs in the executors' hands end first and let go of theirs; those
# that wait for promised values may never begin.
cdef Buffer* take_memory(size_t size, str what) except NULL:
    cdef Buffer* buffer = host_memory().allocate(size)
    cdef uint64_t seen, last
    cdef bint busy = buffer is NULL
    cdef bint waited = False
    graph().mutex.lock()
    last = runs_handed_over()
    graph().mutex.unlock()
    while busy:
        with nogil:
            seen = progress().count()
            graph().mutex.lock()
            busy = any_begun_before(last + 1)
            graph().mutex.unlock()
            if busy:
                waited = True
                progress().wait(seen, 50)
        PyErr_CheckSignals()
    if waited:
        drain()
        buffer = host_memory().allocate(size)
    if buffer is NULL:
        raise OutOfMemoryError(f"[{what}] out of memory: {size} bytes were asked for, {memory_in_words()}", "out_of_memory")
    return buffer


cdef str memory_in_words():
    cdef MemoryInfo memory = host_memory().info()
    limit = f"the limit is {memory.limit}" if memory.limit else "the system gives no more"
    return f"{memory.in_use} are in use, {limit}"
