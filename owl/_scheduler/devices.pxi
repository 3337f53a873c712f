# Devices and their executors. Numbers are given out in order and never reused; a device lives as long as the process.

cdef const KernelTable* kernel_table = NULL
cdef CpuBackend* cpu_backend = NULL  # never destroyed, as executors are
cdef list device_names = []
cdef enum:
    MOST_DEVICES = 1024  # each has a thread once it computes, and a place in what every submission looks at
cdef bint has_own_memory[MOST_DEVICES]  # values lie where the host cannot read them
cdef object devices_lock = threading.Lock()


cdef int load_kernels() except -1:
    global kernel_table, cpu_backend
    if kernel_table is not NULL:
        return 0
    cdef const char* error = NULL
    forced = os.environ.get("OWL_ISA", "").encode()
    cdef const char* name = forced
    kernel_table = select_kernels(name if forced else NULL, &error)
    if kernel_table is NULL:
        raise DeviceError(f"OWL_ISA={forced.decode()}: {error.decode()}")
    cpu_backend = new CpuBackend(dereference(kernel_table))
    threads = os.environ.get("OWL_NUM_THREADS")
    if threads:
        try:
            count = int(threads)
        except ValueError:
            count = 0
        if count < 1:
            raise OwlValueError(f"OWL_NUM_THREADS must be a positive number, not {threads!r}")
        team().resize(count)
    return 0


# With the lock of devices held.
cdef int add_cpu_device() except -1:
    check_number_of_devices("create_cpu_device")
    load_kernels()
    cdef unique_ptr[Executor] executor = make_cpu_executor(dereference(<Backend*>cpu_backend), &scheduler())
    return add_executor(move(executor), f"cpu:{len(device_names)}")


cdef int add_remote_device() except -1:
    check_number_of_devices("remote_device")
    load_kernels()
    host_memory()  # its number is the first
    cdef unique_ptr[Executor] executor = make_remote_executor(dereference(<Backend*>cpu_backend), &scheduler())
    return add_executor(move(executor), f"remote:{sum(name.startswith('remote:') for name in device_names)}")


cdef int check_number_of_devices(str caller) except -1:
    if len(device_names) >= MOST_DEVICES:
        raise DeviceError(f"[{caller}] a process has at most {MOST_DEVICES} devices; a device lives as long as the "
                          "process, so create it once and enter it with `with`")
    return 0


cdef int add_executor(unique_ptr[Executor] executor, str name) except -1:
    cdef Memory* memory = &executor.get().memory()
    has_own_memory[len(device_names)] = not memory.host
    graph().mutex.lock()
    device = scheduler().add_executor(move(executor))
    # A window must fit every device that there is.
    window_bounds().bytes.store(min(window_bounds().bytes.load(), memory.total() // 4))
    graph().mutex.unlock()
    device_names.append(name)
    return device


# Threads that record their first arrays at the same time share one device.
cdef int first_device() except -1:
    with devices_lock:
        if not device_names:
            add_cpu_device()
    return 0


class Device(int):
    """A device: an int for classic scripts, and a context manager that makes it the current one.

    Entering it changes the current device of this thread or asyncio task only, and of tasks that are started inside.

    Examples
    --------
    >>> with owl.create_cpu_device() as device:
    ...     x = owl.zeros([2, 2])
    >>> x.device == device
    True
    """

    def __repr__(self):
        known = 0 <= int(self) < len(device_names)
        return f"Device({int(self)}, {self.name!r})" if known else f"Device({int(self)}, not of this process)"

    __str__ = __repr__

    @property
    def name(self):
        """The kind of device and its number, such as ``cpu:0``."""
        return device_names[check_device(self, "Device.name")]

    @property
    def stream(self):
        """The CuPy stream that a GPU computes on; `owl.DeviceError` on a device that has none.

        Work of your own that you put on it comes after what owl has issued by then. It does not come after what is only
        recorded: await that first.
        """
        return stream_of_device(check_device(self, "Device.stream"))

    def __enter__(self):
        push_device(check_device(self, "with"))
        return self

    def __exit__(self, *_):
        pop_device()

    async def __aenter__(self):
        return self.__enter__()

    async def __aexit__(self, *_):
        self.__exit__()


def create_cpu_device():
    """Creates a CPU device with an executor of its own and returns it.

    All CPU devices share one team of threads, so several of them do not oversubscribe the cores. The first device that is
    created becomes the current one. Any thread may call it.

    Examples
    --------
    >>> device = owl.create_cpu_device()
    >>> owl.set_device(device)
    """
    with devices_lock:
        return Device(add_cpu_device())


def create_remote_device():
    """A new device whose memory the host cannot read: for `owl.testing.remote_device`."""
    with devices_lock:
        return Device(add_remote_device())


def set_num_threads(count):
    """Sets how many threads compute at the same time, over all CPU devices.

    The default is the number of cores that cgroup and affinity allow, or ``OWL_NUM_THREADS``. Results do not depend on it.
    Any thread may call it; kernels under way go on with the threads they have.
    """
    count = int(count)
    if not 1 <= count <= 64:
        raise OwlValueError(f"[set_num_threads] between 1 and 64 threads, not {count}")
    load_kernels()
    cdef int wanted = count
    with nogil:
        team().resize(wanted)


def get_num_threads():
    """How many threads compute at the same time."""
    load_kernels()
    return team().size()
