# Streams of recording: one per thread, and one per asyncio task that records. Every asyncio task runs in a Context of its
# own, so the thread's current Context tells tasks apart; comparing its address is all that recording pays for.

cdef extern from *:
    """
    namespace owl {
    namespace {

    // What this thread recorded into last, and in which Context. A stream is looked up anew only when that changes.
    struct ThreadRecording {
        PyObject* context = nullptr;  // owned, so that its address is not reused
        RecordingStream* current = nullptr;
        RecordingStream* own = nullptr;
        int device = -1;
    };
    thread_local ThreadRecording recording;  // without a destructor: each look at it would ask whether that is known

    struct ThreadEnd {
        bool expected = false;
        // The stream outlives its thread: its nodes may still be wanted.
        ~ThreadEnd() {
            if (recording.context) defer_release(recording.context);  // this thread has no Python any more
            if (!recording.own) return;
            std::lock_guard<GraphLock> guard(graph().mutex);
            recording.own->orphan = true;
        }
    };
    thread_local ThreadEnd thread_end;

    inline PyObject* current_context() { return PyThreadState_Get()->context; }
    // The stream of the Context that runs now, and the device on which it records, -1 if none was chosen; nullptr if another
    // Context recorded last.
    inline RecordingStream* cached_stream(int* device) {
        const ThreadRecording& here = recording;
        if (!here.current || here.context != current_context()) return nullptr;
        *device = here.current->device >= 0 ? here.current->device : here.device;
        return here.current;
    }
    inline RecordingStream* own_stream() { return recording.own; }
    inline void set_own_stream(RecordingStream* stream) { recording.own = stream; }
    inline int thread_device() { return recording.device; }
    inline void set_thread_device(int device) { recording.device = device; }
    inline void forget_stream() {
        PyObject* context = recording.context;
        recording.context = nullptr;
        recording.current = nullptr;
        Py_XDECREF(context);
    }
    inline void cache_stream(RecordingStream* stream) {
        thread_end.expected = true;  // touched, so that it is destroyed with the thread
        PyObject* old = recording.context;
        recording.context = current_context();
        Py_XINCREF(recording.context);
        recording.current = stream;
        Py_XDECREF(old);
    }

    }  // namespace
    }  // namespace owl
    """
    RecordingStream* cached_stream "owl::cached_stream"(int* device)
    RecordingStream* own_stream "owl::own_stream"()
    void set_own_stream "owl::set_own_stream"(RecordingStream* stream)
    int thread_device "owl::thread_device"()
    void set_thread_device "owl::set_thread_device"(int device)
    void forget_stream "owl::forget_stream"()
    void cache_stream "owl::cache_stream"(RecordingStream* stream)
    PyObject* current_context "owl::current_context"()


# The stream of the task that runs in a Context. Contexts are copied when a task starts, so a stream found here counts
# only if it was made in this very Context.
_task_stream = contextvars.ContextVar("owl task stream", default=None)
# Devices entered by `with`, the innermost last; inherited by tasks started inside.
_device_stack = contextvars.ContextVar("owl device stack", default=())


@cython.final
@cython.no_gc
cdef class TaskStream:
    # Ties a stream to an asyncio task: when the task's Context goes, the stream is an orphan.
    cdef RecordingStream* stream
    cdef object context  # weak, as is the task
    cdef object task

    def __dealloc__(self):
        if self.stream is not NULL:
            graph().mutex.lock()
            self.stream.orphan = True
            self.stream.holder = NULL
            graph().mutex.unlock()


cdef int innermost(tuple stack):
    return stack[len(stack) - 1] if stack else -1


cdef RecordingStream* new_stream() except NULL:
    graph().mutex.lock()
    cdef RecordingStream* stream = scheduler().add_stream()
    graph().mutex.unlock()
    stream.device = innermost(_device_stack.get())
    return stream


cdef RecordingStream* find_stream() except NULL:
    cdef TaskStream holder
    cdef RecordingStream* stream
    cdef object task = None
    if current_context() is not NULL:
        holder = _task_stream.get()
        if holder is not None and holder.context() is <object>current_context():
            cache_stream(holder.stream)
            return holder.stream
        task = current_task()
    if task is None:
        stream = own_stream()
        if stream is NULL:
            stream = new_stream()
            set_own_stream(stream)
        # A thread may run functions in Contexts of tasks (asyncio.to_thread): their devices count while it does.
        stream.device = innermost(_device_stack.get())
        stream.numbers.reset()
    else:
        note_loop()
        holder = TaskStream.__new__(TaskStream)
        holder.context = PyWeakref_NewRef(<object>current_context(), None)
        holder.task = PyWeakref_NewRef(task, None)
        holder.stream = stream = new_stream()
        stream.holder = <void*>holder
        _task_stream.set(holder)
    cache_stream(stream)
    return stream


cdef object asyncios_current_task = None


cdef object current_task():
    # Importing asyncio costs more than all of owl: who has not imported it has no task.
    global asyncios_current_task
    loop = loop_of_this_thread()
    if loop is None:
        return None
    if asyncios_current_task is None:
        asyncios_current_task = sys.modules["asyncio"].current_task
    return asyncios_current_task(loop)


# Takes note if the task that recorded a node has ended; that of `mine` has not. Runs Python.
cdef int look_after_task(Node* node, RecordingStream* mine) except -1:
    cdef TaskStream holder = None
    graph().mutex.lock()
    if node.state == State.recorded and stream_of(node) != mine and stream_of(node).holder is not NULL:
        holder = <TaskStream>stream_of(node).holder
    graph().mutex.unlock()
    if holder is None:
        return 0
    task = holder.task()
    if task is None or task.done():
        graph().mutex.lock()
        holder.stream.ended = True
        graph().mutex.unlock()
    return 0


cdef inline RecordingStream* current_stream() except NULL:
    cdef int device
    cdef RecordingStream* stream = cached_stream(&device)
    return stream if stream is not NULL else find_stream()


cdef int current_device(RecordingStream* stream) except -1:
    cdef int device = stream.device
    if device < 0:
        device = thread_device()
    if device < 0:
        if scheduler().executors.empty():
            first_device()
        device = 0
    return device


cdef int check_device(device, str what) except -1:
    try:
        number = int(device)
    except (TypeError, ValueError):
        raise DeviceError(f"[{what}] a device or its number is wanted, not {device!r}") from None
    if not 0 <= number < len(device_names):
        have = ", ".join(f"{i} ({name})" for i, name in enumerate(device_names)) or "none yet"
        raise DeviceError(f"[{what}] there is no device {number}; created so far: {have}")
    return number


def set_device(device):
    """Makes a device the current one of this thread: what is recorded from now on runs there.

    Parameters
    ----------
    device : int
        As returned by `create_cpu_device` or `create_gpu_device`.

    Raises
    ------
    owl.DeviceError
        If there is no such device.
    """
    set_thread_device(check_device(device, "set_device"))


def get_device():
    """The device on which this thread or task records."""
    return Device(current_device(current_stream()))


cdef int push_device(int device) except -1:
    cdef RecordingStream* stream = current_stream()
    _device_stack.set(_device_stack.get() + (device,))
    stream.device = device
    forget_stream()
    return 0


cdef int pop_device() except -1:
    cdef RecordingStream* stream = current_stream()
    cdef tuple stack = _device_stack.get()
    stack = stack[:len(stack) - 1]
    _device_stack.set(stack)
    stream.device = innermost(stack)
    return 0
