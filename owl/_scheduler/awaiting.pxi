# Awaiting: how event loops wait for values.
#
# A loop that waits has a reader: a completion ring which executor threads push to, and whose descriptor the loop watches.
# Each await is a future of the loop, resolved by the loop's own thread when it takes completions off the ring. Failures
# are raised in the code that awaits, each time anew, so that every waiter has a traceback of its own.

cdef Py_ssize_t evaluations = 0  # that exist
cdef dict readers = {}         # weak references to LoopReaders by the id of their loop; the loops hold them
cdef bint raise_when_full = False
cdef set warned_sites = set()  # lines that were told that they block an event loop


class BackPressureError(OwlError, RuntimeError):
    """A coroutine recorded further ahead of the devices than the bounds allow.

    Raised only after ``owl.aio.configure(on_full="raise")``. The operation was not recorded; after
    ``await owl.aio.ready()`` there is room for it.
    """


cdef object get_running_loop = None  # asyncio's, once it has been imported: that takes longer than importing owl


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
    cdef object room     # futures of those who wait until there is room, the first first
    cdef object idle     # of those who wait for all runs up to one: (its number, future), by number
    cdef dict called_back  # evaluations with callbacks in this loop, as keys
    cdef Py_ssize_t waits
    cdef object __weakref__

    def __cinit__(self, loop):
        self.ring = new CompletionRing()
        self.loop = weakref.ref(loop)
        self.context = contextvars.Context()
        self.room = collections.deque()
        self.idle = collections.deque()
        self.called_back = {}

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
        cdef Evaluation evaluation
        while completion is not NULL:
            following = completion.next
            if completion.owner is not NULL:
                wait = <Wait>completion.owner
                wait.completion = NULL
                self.waits -= 1
                evaluation = wait.evaluation
                if evaluation is None:
                    resolve(wait.future)
                else:
                    evaluation.call_back(self.loop())
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
        self.pass_room_on()
        while self.idle and not runs_pending(self.idle[0][0]):
            resolve(self.idle.popleft()[1])
        return 0

    # One at a time: each that goes on wakes the next, if there is room still. Were all woken together, all but one or two
    # would only wait again.
    cdef int pass_room_on(self) except -1:
        while self.room and has_room():
            future = self.room.popleft()
            if not future.done():
                future.set_result(None)
                break
        return 0

    cdef bint useful(self):
        # Whose loop was closed without a word keeps evaluations whose callbacks will never be called.
        loop = self.loop()
        if loop is not None and not loop.is_closed():
            return True
        cdef Evaluation evaluation
        for evaluation in list(self.called_back):
            evaluation.end_callbacks()
        return False

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
    # the descriptor, unless a task still waits. Where a loop is closed without, the reader goes with the loop.
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
        found = other()
        if found is None or not (<LoopReader>found).useful():
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
    # One wait for values and the completion that ends it: a task's, which awaits the future, or that of the callbacks of
    # an evaluation. Dropping it ends this wait alone.
    cdef Completion* completion
    cdef LoopReader reader
    cdef object future
    cdef Evaluation evaluation  # holds this wait: the two let go of each other when it ends

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


# None if all have finished. Without an evaluation that is to be told there is a future.
cdef Wait begin_wait(const vector[Node*]& nodes, Evaluation evaluation):
    cdef LoopReader reader = current_reader()
    cdef Wait wait = Wait.__new__(Wait)
    wait.reader = reader
    graph().mutex.lock()
    wait.completion = reader.ring.begin(<void*>wait, nodes.data(), nodes.size())
    graph().mutex.unlock()
    if wait.completion is NULL:
        return None
    reader.waits += 1
    if evaluation is None:
        wait.future = reader.loop().create_future()
    wait.evaluation = evaluation
    return wait


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

# For one more window: recording itself waits only when it has submitted one too many.
cdef bint has_room() noexcept:
    return is_room_within(run_bound)


def room_future(bint again=False):
    """A future of the running loop that is done once there may be room; None if there is room now.

    `again`: the caller has waited already, and goes before those that came later. Who has waited calls `pass_room_on`, also
    if it was cancelled.
    """
    cdef LoopReader reader
    if has_room():
        return None
    reader = current_reader()
    future = reader.loop().create_future()
    if again:
        reader.room.appendleft(future)
    else:
        reader.room.append(future)
    reader.progress()
    return future


def pass_room_on():
    """Wakes the next that waits for room in the running loop, if there is any."""
    current_reader().pass_room_on()


def all_done_future():
    """Hands over everything that was recorded; a future of the running loop that is done when that is. None if it is."""
    cdef uint64_t last = submit_all()
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


# Recording is about to wait for room, which on a thread that runs an event loop would hold up all its tasks. There, code
# that awaits once in every step waits before the step, so a step may go beyond the bound: by this many times as many runs for
# each task that may have one under way, and for each evaluation that is held to be awaited later.
cdef int STEP_RUNS = 64


cdef bint goes_on_without_room() except -1:
    if loop_of_this_thread() is None:
        return False
    if is_room_within(STEP_RUNS * run_bound * (1 + current_reader().waits + evaluations) + 1):
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
