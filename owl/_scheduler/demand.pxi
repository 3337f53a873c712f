# Demands: somebody asks for values. What they need and nothing else is handed over; the rest stays recorded.

cdef extern from *:
    """
    namespace owl { namespace {
    // Never destroyed, like all that outlives main(): a daemon thread may be recording when static destructors run.
    std::vector<Node*>& needed = *new std::vector<Node*>;
    } }
    """
    vector[Node*] needed "owl::needed"  # guarded by the graph's lock


# Under the graph's lock.
cdef void demand(Node** targets, int count) noexcept nogil:
    graph().ancestors(targets, count, &needed)
    if needed.empty():
        return
    cdef Window window
    window.swap(needed)
    cdef size_t i
    for i in range(window.size()):
        graph().hold(window[i])
    hand_over(window)
    for i in range(window.size()):
        graph().unhold(window[i])


cdef int start(NArray array) except -1:
    cdef Node* node
    drain()
    with nogil:
        graph().mutex.lock()
        node = array.node
        if node.state == State.recorded:
            demand(&node, 1)
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
    error = make_exception(failure)
    failure.release()
    raise error


# A handle of its own keeps the value while Python runs: another thread, or a signal handler, may point the caller's
# NArray at another value by then.
cdef Buffer* evaluate(NArray array) except NULL:
    cdef Node* node
    cdef bint finished
    graph().mutex.lock()
    node = array.node
    graph().add_handle(node)
    finished = node.finished()
    graph().mutex.unlock()
    try:
        if not finished:
            drain()
            with nogil:
                graph().mutex.lock()
                if node.state == State.recorded:
                    demand(&node, 1)
                graph().mutex.unlock()
            wait_finished(node)
        return take_buffer(node)
    finally:
        graph().mutex.lock()
        graph().drop_handle(node)
        graph().mutex.unlock()


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
    cdef size_t i
    cdef uint64_t seen, last
    cdef bint busy
    drain()
    with nogil:
        graph().mutex.lock()
        for i in range(streams.size()):
            close_window(streams[i])
        # Not for what other threads hand over from now on: they may never stop.
        last = runs_handed_over()
        graph().mutex.unlock()
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
