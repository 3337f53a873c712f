# The end of the program, and fork.

import atexit


def _finish():
    # At exit: what has begun ends at its next end of a kernel, the rest is dropped, unseen failures are told.
    cdef size_t i
    cdef bint busy = True
    cdef int rounds = 0
    global ending
    ending = True
    for i in range(scheduler().executors.size()):
        scheduler().executors[i].abort()
    while busy and rounds < 100:
        busy = False
        rounds += 1
        for i in range(scheduler().executors.size()):
            busy = busy or scheduler().executors[i].backlog() > 0
        if busy:
            with nogil:
                progress().wait(progress().count(), 20)
    stop_specializing()
    report_unobserved_failures()
    cdef vector[Failure*] held = held_unobserved_failures()
    for i in range(held.size()):
        sys.stderr.write(f"owl: exception was never retrieved: {failure_text(held[i], failure_origins(held[i]))}\n")
        held[i].observed.store(True)


atexit.register(_finish)


def _before_fork():
    cdef size_t i
    devices_lock.acquire()  # no executor is added from here on
    with nogil:
        for i in range(scheduler().executors.size()):
            scheduler().executors[i].quiesce()
    # With the GIL: no thread that has one of these locks waits for it, but threads that have the GIL wait for these locks, so
    # asking for the GIL with them in hand would be a deadlock.
    while True:
        team().lock_for_fork()
        graph().mutex.lock()
        if not scheduler().any_compiling_within(UINT64_MAX):
            break
        # What compiles holds no lock, but it may be inside the system's or C++'s own.
        graph().mutex.unlock()
        team().unlock_after_fork(False)
        with nogil:
            progress().wait(progress().count(), 1)
    for i in range(scheduler().executors.size()):
        scheduler().executors[i].freeze()
    if specializer is not NULL:
        specializer.lock_for_fork()
    lock_failures_for_fork()
    lock_memory_for_fork()


cdef void after_fork(bint in_child) noexcept nogil:
    cdef size_t i
    unlock_memory_after_fork()
    unlock_failures_after_fork()
    if specializer is not NULL:
        specializer.unlock_after_fork(in_child)
    if in_child:
        forget_failures_after_fork()
        scheduler().forget_compile_thread()
        forget_host_copies()
    for i in range(scheduler().executors.size()):
        scheduler().executors[i].resume(in_child)
    graph().mutex.unlock()
    team().unlock_after_fork(in_child)


def _after_fork_in_parent():
    with nogil:
        after_fork(False)
    devices_lock.release()


def _after_fork_in_child():
    # Finished values and new work function here. What was recorded or under way belongs to threads of the parent.
    cdef size_t k
    cdef Failure* failure
    after_fork(True)
    devices_lock.release()
    failure = new Failure(  # after the failures' lock has been let go
        FailureKind.forked,
        b"the value was still pending when this process was forked: only finished values can be used in a forked child")
    progress().reset_after_fork()
    graph().mutex.lock()
    fail_runs_after_fork(failure)
    scheduler().fail_recorded(failure)
    for k in range(promised.size()):
        promised[k].waiters = NULL
        promised[k].parked = False
        graph().fail(promised[k], failure)
        graph().unhold(promised[k])
    promised.clear()  # who would have kept them is in the parent
    graph().mutex.unlock()
    failure.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
