# Awaiting: how event loops wait for values.
#
# A loop that waits has a reader: a completion ring which executor threads push to, and whose descriptor the loop watches.
# Each await is a future of the loop, resolved by the loop's own thread when it takes completions off the ring. Failures
# are raised by whoever awaits, each time anew, so that every waiter has a traceback of its own.

cdef dict readers = {}         # weak references to LoopReaders by the id of their loop; the loops hold them
cdef bint raise_when_full = False
cdef set warned_sites = set()  # lines that were told that they block an event loop


class BackPressureError(OwlError, RuntimeError):
    """A coroutine recorded further ahead of the devices than the bounds allow.

    Raised only after ``owl.aio.configure(on_full="raise")``. The operation was not recorded; after
    ``await owl.aio.ready()`` there is room for it.
    """


cdef object get_running_loop = None  # asyncio's, once somebody has imported it: that takes longer than importing owl


cdef object loop_of_this_thread():
    # None where no event loop runs.
    global get_running_loop
    if get_running_loop is None:
        asyncio = sys.modules.get("asyncio")
        get_running_loop = getattr(asyncio, "_get_running_loop", None)
        if get_running_loop is None:
            return None
    return get_running_loop()


@cython.final
@cython.no_gc_clear
cdef class LoopReader:
    # Resolves the futures of one event loop. Only the loop's thread uses it.
    cdef CompletionRing* ring
    cdef object loop     # weak
    cdef object context  # an empty one: a callback keeps its Context alive for as long as the loop lives
    cdef object closer
    cdef list room       # futures of those who wait until there is room
    cdef list idle       # of those who wait for all runs up to one: (its number, future)
    cdef Py_ssize_t waits
    cdef object __weakref__

    def __cinit__(self, loop):
        self.ring = new CompletionRing()
        self.loop = weakref.ref(loop)
        self.context = contextvars.Context()
        self.room = []
        self.idle = []

    def __dealloc__(self):
        del self.ring

    cdef bint wanted(self):
        return self.waits > 0 or not all(
            [future.done() for future in self.room] + [future.done() for _, future in self.idle])

    def deliver(self):
        # Called by the loop when the ring is not empty.
        cdef cbool progressed = False
        cdef Completion* completion = self.ring.take(&progressed)
        cdef Completion* following
        cdef Wait wait
        while completion is not NULL:
            following = completion.next
            if completion.owner is not NULL:
                wait = <Wait>completion.owner
                wait.completion = NULL
                self.waits -= 1
                resolve(wait.future)
            del completion
            completion = following
        if progressed:
            self.progress()

    cdef int watch(self) except -1:
        graph().mutex.lock()
        self.ring.watch_progress()
        graph().mutex.unlock()
        return 0

    cdef int progress(self) except -1:
        # Watching begins before looking, so that nothing is missed in between.
        if self.room or self.idle:
            self.watch()
        if self.room and has_room():
            waiting, self.room = self.room, []
            for future in waiting:
                resolve(future)
        waiting, self.idle = self.idle, []
        for last, future in waiting:
            if runs_pending(last):
                self.idle.append((last, future))
            else:
                resolve(future)
        return 0

    cdef int close(self) except -1:
        # In the loop's thread, while the loop is not closed.
        loop = self.loop()
        if self.ring.descriptor() >= 0:
            loop.remove_reader(self.ring.descriptor())
            self.ring.forget_descriptor()
        readers.pop(id(loop), None)
        return 0


cdef int resolve(future) except -1:
    if not future.done():
        future.set_result(None)
    return 0


async def close_before(reader):
    # An event loop that is about to close closes the asynchronous generators that were begun in it; this one lets go of
    # the descriptor, unless somebody still waits. Where a loop is closed without, the reader goes with the loop.
    cdef LoopReader found
    try:
        yield
    finally:
        found = reader()
        if found is not None and not found.wanted():
            found.close()


cdef LoopReader open_reader(loop):
    cdef LoopReader reader = LoopReader.__new__(LoopReader, loop)
    if reader.ring.descriptor() < 0:
        raise OSError("owl needs a file descriptor to wake the event loop, and there is none left")
    for key, other in list(readers.items()):
        if other() is None:
            del readers[key]
    reader.context.run(loop.add_reader, reader.ring.descriptor(), reader.deliver)
    readers[id(loop)] = weakref.ref(reader)
    if not getattr(loop, "_asyncgens_shutdown_called", False):
        reader.closer = close_before(weakref.ref(reader))
        try:
            reader.closer.__anext__().send(None)
        except StopIteration:
            pass
    return reader


cdef LoopReader current_reader():
    loop = loop_of_this_thread()
    if loop is None:
        raise RuntimeError("no running event loop: arrays are awaited in coroutines; wait_for_eval waits anywhere")
    found = readers.get(id(loop))
    cdef LoopReader reader = None if found is None else found()
    if reader is None or reader.loop() is not loop:
        reader = open_reader(loop)
    return reader


@cython.final
@cython.no_gc_clear
cdef class Wait:
    # One task's wait for values: a future and the completion that will resolve it. Dropping it ends this wait alone.
    cdef Completion* completion
    cdef LoopReader reader
    cdef readonly object future

    def __dealloc__(self):
        self.end()

    cdef void end(self) noexcept:
        if self.completion is NULL:
            return
        graph().mutex.lock()
        CompletionRing.abandon(self.completion)
        graph().mutex.unlock()
        self.completion = NULL
        self.reader.waits -= 1


# None if all have finished.
cdef Wait begin_wait(const vector[Node*]& nodes):
    cdef LoopReader reader = current_reader()
    cdef Wait wait = Wait.__new__(Wait)
    wait.reader = reader
    graph().mutex.lock()
    wait.completion = reader.ring.begin(<void*>wait, nodes.data(), nodes.size())
    graph().mutex.unlock()
    if wait.completion is NULL:
        return None
    reader.waits += 1
    wait.future = reader.loop().create_future()
    return wait


# ----------------------------------------------------------------------------------------------------------- evaluations

@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Evaluation:
    """Values on their way: what ``x.eval()`` returns.

    It may be awaited any number of times, by several tasks and in several event loops, or be ignored. Awaiting gives the
    array (for `owl.aio.gather`: the list of arrays) once the value exists, or raises what went wrong. Cancelling an await
    ends that wait alone. Made by any thread.
    """

    cdef object value
    cdef vector[Node*] nodes

    def __init__(self):
        raise OwlTypeError("[Evaluation] evaluations are begun by NArray.eval and owl.aio.gather")

    def __dealloc__(self):
        cdef size_t i
        graph().mutex.lock()
        for i in range(self.nodes.size()):
            graph().drop_handle(self.nodes[i])
        graph().mutex.unlock()

    cdef bint finished(self) noexcept:
        cdef size_t i
        cdef bint all_finished = True
        graph().mutex.lock()
        for i in range(self.nodes.size()):
            all_finished = all_finished and self.nodes[i].finished()
        graph().mutex.unlock()
        return all_finished

    # The value, or the first failure, as an exception of its own.
    cdef object result(self):
        cdef size_t i
        cdef Failure* failure = NULL
        graph().mutex.lock()
        for i in range(self.nodes.size()):
            if self.nodes[i].state == State.failed:
                failure = self.nodes[i].failure.retain()
                break
        graph().mutex.unlock()
        if failure is NULL:
            return self.value
        error = make_exception(failure)
        failure.release()
        raise error

    def __await__(self):
        cdef Wait wait
        if self.finished():
            if must_yield():
                yield
            room = room_future()
            while room is not None:
                yield from room
                room = room_future()
        else:
            wait = begin_wait(self.nodes)
            if wait is not None:
                try:
                    yield from wait.future
                finally:
                    wait.end()
        return self.result()

    def arrival(self):
        # A wait as an object, for those who wait for several at a time: its `future`, or None if all is there.
        return None if self.finished() else begin_wait(self.nodes)


# Starts at once, and all of it as one window. Only a thread without an event loop waits for room here: a coroutine does
# when it awaits.
cdef Evaluation begin_evaluation(object value, list arrays):
    cdef Evaluation evaluation = Evaluation.__new__(Evaluation)
    cdef Py_ssize_t count = len(arrays)
    cdef Py_ssize_t i
    cdef Node* node
    cdef bint recorded = False
    cdef uint32_t site = call_site()
    drain()
    evaluation.value = value
    evaluation.nodes.reserve(count)
    graph().mutex.lock()
    for i in range(count):
        node = (<NArray>arrays[i]).node  # under the lock: another thread may be pointing the array elsewhere
        graph().add_handle(node)
        evaluation.nodes.push_back(node)
        recorded = recorded or node.state == State.recorded
    graph().mutex.unlock()
    if recorded:
        with nogil:
            graph().mutex.lock()
            trace.asked_at = site
            demand(evaluation.nodes.data(), <int>count)
            trace.asked_at = 0
            graph().mutex.unlock()
    if recorded and not has_room() and loop_of_this_thread() is None:
        wait_for_room()
    return evaluation


def same_value(NArray array not None):
    """Another handle on the value that an array has now."""
    cdef NArray other = NArray.__new__(NArray)
    graph().mutex.lock()
    graph().add_handle(array.node)
    other.node = array.node
    graph().mutex.unlock()
    return other


def evaluate_together(arrays):
    """Starts to compute several arrays as one plan; awaiting the result gives them as a list. Wakes the waiter once."""
    cdef list checked = list(arrays)
    for array in checked:
        if type(array) is not NArray:
            raise OwlTypeError(f"[gather] arrays are wanted, not {type(array).__name__}")
    return begin_evaluation(checked, checked)


# ------------------------------------------------------------------------------------------------------------- fairness

cdef extern from *:
    """
    #include <chrono>
    namespace owl {
    namespace {

    // Awaits of ready values, one after the other without the loop having had its turn.
    struct ReadyChain {
        void* loop = nullptr;
        int64_t begin = 0;
        bool probed = false;
    };
    thread_local ReadyChain ready_chain;

    inline int64_t monotonic_ns() {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(
            std::chrono::steady_clock::now().time_since_epoch()).count();
    }

    }  // namespace
    }  // namespace owl
    """
    cppclass ReadyChain "owl::ReadyChain":
        void* loop
        int64_t begin
        cbool probed
    ReadyChain ready_chain "owl::ready_chain"
    int64_t monotonic_ns "owl::monotonic_ns"()

cdef int64_t FAIR_NS = 1000000


def _loop_went_round():
    ready_chain.begin = 0
    ready_chain.probed = False


# Whether ready values have kept the loop from its other tasks for a millisecond. A callback tells whether the loop has gone
# round in between; since it costs more than all else here, only a chain that has lasted half of that time leaves one.
cdef bint must_yield() except -1:
    cdef int64_t now = monotonic_ns()
    if ready_chain.begin == 0:
        ready_chain.begin = now
    if now - ready_chain.begin < FAIR_NS // 2:
        return False
    loop = loop_of_this_thread()
    if loop is None:
        return False
    if ready_chain.loop != <void*>loop:
        ready_chain.loop = <void*>loop
        ready_chain.begin = now
        ready_chain.probed = False
        return False
    if not ready_chain.probed:
        ready_chain.probed = True
        loop.call_soon(_loop_went_round, context=current_reader().context)
        return False
    if now - ready_chain.begin < FAIR_NS:
        return False
    _loop_went_round()
    return True


# -------------------------------------------------------------------------------------------------------- back-pressure

# For one more window: recording itself waits only when it has handed over one too many.
cdef bint has_room() noexcept:
    return backlog() < run_bound


def room_future():
    """A future of the running loop that is done once there may be room; None if there is room now."""
    cdef LoopReader reader
    if has_room():
        return None
    reader = current_reader()
    future = reader.loop().create_future()
    reader.room.append(future)
    reader.progress()
    return future


def all_done_future():
    """Hands over everything that was recorded; a future of the running loop that is done when that is. None if it is."""
    cdef uint64_t last = hand_over_all()
    cdef LoopReader reader
    if not runs_pending(last):
        return None
    reader = current_reader()
    future = reader.loop().create_future()
    reader.idle.append((last, future))
    reader.progress()
    return future


cdef bint runs_pending(uint64_t last) noexcept:
    graph().mutex.lock()
    cdef bint pending = any_run_within(last)
    graph().mutex.unlock()
    return pending


def set_raise_when_full(bint value):
    """Whether recording without room raises in a thread that runs an event loop; returns what it was."""
    global raise_when_full
    was = raise_when_full
    raise_when_full = value
    return was


# Recording is about to wait for room, which on a thread that runs an event loop would hold up all its tasks. There, whoever
# awaits once in every step waits before the step, so a step may go beyond the bound: by this many times as many runs for
# each task that may have one under way.
cdef int STEP_RUNS = 64


cdef bint goes_on_without_room() except -1:
    if loop_of_this_thread() is None:
        return False
    if backlog() <= STEP_RUNS * run_bound * (1 + current_reader().waits):
        return True
    if raise_when_full:
        raise BackPressureError("recording is too far ahead of the device: await owl.aio.ready() before recording on")
    cdef uint32_t site = call_site()
    if site not in warned_sites:
        warned_sites.add(site)
        warnings.warn("recording is too far ahead of the device and blocks the event loop: await an array, or "
                      "owl.aio.ready(), now and then", RuntimeWarning, stacklevel=1)
    return False


def forget_warned_lines():
    """Lines that were told that they block an event loop are told again."""
    warned_sites.clear()


# ----------------------------------------------------------------------------------------------------------------- fork

def _forget_parents_loops():
    # In a forked child: loops and descriptors belong to the parent.
    cdef LoopReader reader
    for found in readers.values():
        reader = found()
        if reader is not None:
            reader.ring.forget_descriptor()
    readers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_loops)
