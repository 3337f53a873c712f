# Waiting for values, for all work, and for memory: threads block without the GIL and run signal handlers.


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
    release_deferred()
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


# The number of the last run, to wait for: not for what other threads submit from then on, for they may never stop.
cdef uint64_t submit_all() noexcept:
    cdef size_t i
    cdef uint64_t last
    release_deferred()
    with nogil:
        graph().mutex.lock()
        for i in range(scheduler().streams.size()):
            scheduler().flush(scheduler().streams[i])
        last = runs_submitted()
        scheduler().unlock_and_compile()
    return last


# Other threads' plans that are being compiled: what these leave over is recorded then, and can be submitted with the rest.
cdef int wait_for_compilations() except -1:
    cdef uint64_t last
    cdef bint busy
    graph().mutex.lock()
    last = scheduler().counters.plans
    busy = scheduler().any_compiling_within(last)
    graph().mutex.unlock()
    while busy:
        with nogil:
            progress().wait(progress().count(), 1)
            graph().mutex.lock()
            busy = scheduler().any_compiling_within(last)
            graph().mutex.unlock()
        PyErr_CheckSignals()
    return 0


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
    cdef uint64_t last
    cdef bint busy = True
    wait_for_compilations()
    last = submit_all()
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
    release_deferred()


# Memory that the caller fills for a device, or has filled from there. Where it is refused, runs in the executors' hands end first and let go of theirs; those
# that wait for promised values may never begin.
cdef Buffer* take_memory(size_t size, int device, str what) except NULL:
    cdef Executor* executor = scheduler().executors[device]
    cdef Buffer* buffer = executor.stage(size)
    cdef uint64_t seen, last
    cdef bint busy = buffer is NULL
    cdef bint waited = False
    graph().mutex.lock()
    last = runs_submitted()
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
        release_deferred()
        buffer = executor.stage(size)
    if buffer is NULL:
        raise OutOfMemoryError(f"[{what}] out of memory: {size} bytes were asked for, {memory_in_words()}", "out_of_memory")
    return buffer


cdef str memory_in_words():
    cdef MemoryInfo memory = host_memory().info()
    limit = f"the limit is {memory.limit}" if memory.limit else "the system gives no more"
    return f"{memory.in_use} are in use, {limit}"
