# Evaluations: values on their way, as an awaitable and as a future of whichever event loop runs.

@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Evaluation:
    """Values on their way: what ``x.eval()`` returns.

    It may be awaited any number of times, by several tasks and in several event loops, or be ignored. Awaiting gives the
    array (for `owl.aio.gather`: the list of arrays) once the value exists, or raises what went wrong. Cancelling an await
    ends that wait alone. Made by any thread.

    Within a running event loop it is also what asyncio takes for a future: `asyncio.gather`, ``wait``, ``wait_for``,
    ``shield`` and ``as_completed`` take it as it is, without a task for each. `cancel` ends what waits through these; an
    ``await`` of the same evaluation, and the computation, go on.
    """

    cdef object value
    cdef vector[Node*] nodes
    cdef list callbacks    # (function, Context), None without
    cdef Wait wait         # what will call them
    cdef bint is_cancelled
    cdef object message

    def __cinit__(self):
        global evaluations
        evaluations += 1

    def __dealloc__(self):
        global evaluations
        cdef size_t i
        evaluations -= 1
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

    # The first failure, as an exception of its own; None if there is none.
    cdef object error(self):
        cdef size_t i
        cdef Failure* failure = NULL
        graph().mutex.lock()
        for i in range(self.nodes.size()):
            if self.nodes[i].state == State.failed:
                failure = self.nodes[i].failure.retain()
                break
        graph().mutex.unlock()
        if failure is NULL:
            return None
        error = make_exception(failure)
        failure.release()
        return error

    cdef object outcome(self):
        error = self.error()
        if error is not None:
            raise error
        return self.value

    def __await__(self):
        cdef Wait wait
        if self.finished():
            if must_yield():
                yield
            room = room_future()
            if room is not None:
                try:
                    while room is not None:
                        yield from room
                        room = room_future(True)
                finally:
                    pass_room_on()
        else:
            wait = begin_wait(self.nodes, None)
            if wait is not None:
                try:
                    yield from wait.future
                finally:
                    wait.end()
        return self.outcome()

    # -------------------------------------------------------------------------------------------- as a future of asyncio

    @property
    def _asyncio_future_blocking(self):
        # By this asyncio tells futures from other awaitables. Without a running loop there is none that this is one of.
        return None if loop_of_this_thread() is None else False

    def get_loop(self):
        """The running event loop; RuntimeError where there is none."""
        loop = loop_of_this_thread()
        if loop is None:
            raise RuntimeError("no running event loop")
        return loop

    def done(self):
        """Whether the value exists, has failed, or is not wanted any more."""
        return self.is_cancelled or self.finished()

    def cancelled(self):
        """Whether `cancel` came before the value."""
        return self.is_cancelled

    def result(self):
        """What awaiting would give or raise; `asyncio.CancelledError` and ``InvalidStateError`` as a future does."""
        self.check_done()
        return self.outcome()

    def exception(self):
        """What awaiting would raise, None if it would not; raises where a future does."""
        self.check_done()
        return self.error()

    # asyncio.gather asks its futures for these two.
    @property
    def _cancel_message(self):
        return self.message

    def _make_cancelled_error(self):
        error = sys.modules["asyncio"].CancelledError
        return error() if self.message is None else error(self.message)

    cdef int check_done(self) except -1:
        if self.is_cancelled:
            raise self._make_cancelled_error()
        if not self.finished():
            raise sys.modules["asyncio"].InvalidStateError("the value does not exist yet")
        return 0

    def add_done_callback(self, function, *, context=None):
        """Has the running event loop call ``function(evaluation)`` once the value exists or has failed.

        Parameters
        ----------
        function : callable
        context : contextvars.Context, optional
            In which it is called; a copy of the current one by default.
        """
        cdef Wait wait
        loop = self.get_loop()
        if context is None:
            context = contextvars.copy_context()
        if self.callbacks is None and not self.is_cancelled:
            wait = begin_wait(self.nodes, self)
            if wait is not None:
                self.wait = wait
                self.callbacks = [(function, context)]
                wait.reader.called_back[self] = None
                return
        elif self.callbacks is not None and self.wait.reader.loop() is loop:
            self.callbacks.append((function, context))
            return
        elif self.callbacks is not None:
            # Another loop waits through this one already: here another evaluation of the same values waits for it.
            same_evaluation(self).add_done_callback(lambda _: function(self), context=context)
            return
        loop.call_soon(function, self, context=context)

    def remove_done_callback(self, function):
        """Takes a callback back. Returns how often it had been added."""
        if self.callbacks is None:
            return 0
        kept = [entry for entry in self.callbacks if entry[0] != function]
        removed = len(self.callbacks) - len(kept)
        self.callbacks = kept
        if not kept:
            self.end_callbacks()
        return removed

    def cancel(self, msg=None):
        """Ends what waits for this as a future: callbacks are called, and find it cancelled. False if it was done.

        The computation goes on, and so do those who ``await`` the evaluation.
        """
        if self.done():
            return False
        self.is_cancelled = True
        self.message = msg
        if self.callbacks is not None:
            self.call_back(self.wait.reader.loop())
        return True

    cdef int call_back(self, loop) except -1:
        callbacks = self.callbacks
        self.end_callbacks()
        for function, context in callbacks:
            loop.call_soon(function, self, context=context)
        return 0

    cdef int end_callbacks(self) except -1:
        cdef Wait wait = self.wait
        self.callbacks = self.wait = None
        wait.evaluation = None
        wait.reader.called_back.pop(self, None)
        wait.end()
        return 0


cdef Evaluation same_evaluation(Evaluation evaluation):
    cdef Evaluation other = Evaluation.__new__(Evaluation)
    cdef size_t i
    other.value = evaluation.value
    other.nodes = evaluation.nodes
    graph().mutex.lock()
    for i in range(other.nodes.size()):
        graph().add_handle(other.nodes[i])
    graph().mutex.unlock()
    return other


# Starts at once, and all of it as one window. Only a thread without an event loop waits for room here: a coroutine does
# when it awaits.
cdef Evaluation begin_evaluation(object value, list arrays):
    cdef Evaluation evaluation = Evaluation.__new__(Evaluation)
    cdef Py_ssize_t count = len(arrays)
    cdef Py_ssize_t i
    cdef Node* node
    cdef bint recorded = False
    cdef uint32_t site = call_site()
    release_deferred()
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
            scheduler().request(evaluation.nodes.data(), <int>count, site)
            scheduler().unlock_and_compile()
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


def value_on_host(NArray array not None):
    """Another handle on the value that an array has now; where the host cannot read that, on a transfer of it to a CPU device."""
    cdef NArray value = same_value(array)
    return value.to(home_of_host_memory()) if has_own_memory[value.node.device] else value


def evaluate_together(arrays):
    """Starts to compute several arrays as one plan; awaiting the result gives them as a list. Wakes the waiter once."""
    cdef list checked = list(arrays)
    for array in checked:
        if type(array) is not NArray:
            raise OwlTypeError(f"[gather] arrays are wanted, not {type(array).__name__}")
    return begin_evaluation(checked, checked)
