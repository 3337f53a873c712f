# GPUs: what there is, and a device for one. The driver is touched by create_gpu_device alone: what only asks whether there is
# a GPU leaves forked children free to use CUDA.

cdef dict opened_gpus = {}             # what CuPy holds for a device, by the device's number: kept for ever
cdef object gpu_process = None         # the process that has opened one


def create_gpu_device(index=0):
    """Creates a device for the GPU of this number and returns it.

    Each call makes a device of its own, with one stream for computing and one for copies: two devices of one GPU compute
    side by side and hand values over by transfers. CUDA comes in by this call alone, and the first one compiles owl's kernels
    for the GPU unless the disk keeps them. Any thread may call it.

    Parameters
    ----------
    index : int
        CUDA's number of the GPU, which ``CUDA_VISIBLE_DEVICES`` may change.

    Raises
    ------
    owl.DeviceError
        If the GPU cannot be used: what is missing, and what to type. With ``OWL_GPU_FALLBACK=cpu`` in the environment a CPU
        device is created instead and a warning given once, so that a script written for a GPU runs anywhere.

    Examples
    --------
    >>> gpu = owl.create_gpu_device(0)  # doctest: +SKIP
    >>> with gpu:  # doctest: +SKIP
    ...     y = owl.ones([2, 2]) * 3
    """
    index = operator.index(index)
    if index < 0:
        raise DeviceError(f"[create_gpu_device] GPU numbers start at 0, not {index}")
    fallback = os.environ.get("OWL_GPU_FALLBACK", "")
    if fallback not in ("", "cpu"):
        raise DeviceError(f"[create_gpu_device] OWL_GPU_FALLBACK={fallback!r} is not known; 'cpu' is the only fallback")
    check_number_of_devices("create_gpu_device")
    try:
        check_gpu(index)
        with devices_lock:
            return Device(add_gpu_device(index))
    except DeviceError as error:
        reason = error
    if not fallback:
        raise DeviceError(f"[create_gpu_device] GPU {index} cannot be used: {reason}; OWL_GPU_FALLBACK=cpu lets such a script "
                          "run on a CPU") from reason.__cause__
    if "cpu" not in warned_fallbacks:
        warned_fallbacks.add("cpu")
        warnings.warn(f"OWL_GPU_FALLBACK=cpu: a CPU device stands in for GPU {index}: {reason}", stacklevel=1)
    return create_cpu_device()


cdef set warned_fallbacks = set()


# Raises what can be seen to be missing without touching the driver, and says what to do.
cdef int check_gpu(int index) except -1:
    from owl._cuda import nvml

    check_not_forked()
    missing = nvml.missing()
    if missing is not None:
        raise DeviceError(missing)
    count = nvml.gpu_count()
    if index >= count:
        raise DeviceError(f"there {'is one GPU' if count == 1 else f'are {count} GPUs'}, and numbers start at 0")
    return 0


cdef int check_not_forked() except -1:
    if opened_gpus and gpu_process != os.getpid():
        raise DeviceError("CUDA cannot be used in a child that was forked after its parent had created a GPU device: start the "
                          "process by multiprocessing's \"spawn\" or \"forkserver\" instead")
    return 0


# The current device if it is one of that GPU, and else the first one of that GPU, which is created if need be.
cdef int device_of_gpu(int index) except -1:
    cdef int current = current_device(current_stream())
    check_not_forked()
    if device_names[current] == f"gpu:{index}":
        return current
    return first_device_of_gpu(index)


cdef int first_device_of_gpu(int index) except -1:
    name = f"gpu:{index}"
    with home_lock:
        if name not in device_names:
            create_gpu_device(index)
        if name not in device_names:  # OWL_GPU_FALLBACK
            raise DeviceError(f"memory of GPU {index} cannot be read by a CPU device in its place")
        return device_names.index(name)


# With the lock of devices held.
cdef int add_gpu_device(int index) except -1:
    global gpu_process
    host_memory()  # its number is the first
    from owl._cuda import edge

    cdef CudaDevice device
    cdef string error
    library = os.fsencode(edge.driver_library())
    device.driver = load_driver(library, &error)
    if device.driver is NULL:
        raise DeviceError(error.decode(errors="replace"))
    opened = edge.open_gpu(index)
    device.index = index
    device.compute = <Stream><uintptr_t>opened.compute.ptr
    device.copy = <Stream><uintptr_t>opened.copy.ptr
    for event in opened.compute_events:
        device.compute_events.push_back(<Event><uintptr_t>event.ptr)
    for event in opened.copy_events:
        device.copy_events.push_back(<Event><uintptr_t>event.ptr)
    for function in opened.functions:
        device.functions.push_back(<Function><uintptr_t>function.ptr)
    device.blocking = setting("OWL_CUDA_BLOCKING", "0", ("0", "1")) == "1"
    graphs = setting("OWL_CUDA_GRAPHS", "1", ("0", "1", "always"))
    if graphs == "0":
        device.graph_runs = 0
    elif graphs == "always":
        device.graph_runs = device.graph_steps = 1
    check_driver(device, device.driver.init(0))
    check_driver(device, device.driver.retain_context(&device.context, index))
    find_memory(device)
    start_specializing()
    cdef int64_t border = open_products(device, opened.device.compute_capability)
    cdef CudaBackend* backend = new CudaBackend(specializer, border)  # never destroyed, as executors are
    cdef unique_ptr[Executor] executor = make_cuda_executor(device, dereference(<Backend*>backend), &scheduler())
    number = add_executor(move(executor), f"gpu:{index}")
    opened_gpus[number] = opened
    gpu_process = os.getpid()
    return number


cdef int check_driver(const CudaDevice& device, int error) except -1:
    if error:
        raise DeviceError(device.driver.describe(error).decode())
    return 0


cdef int find_memory(CudaDevice& device) except -1:
    cdef size_t free = 0
    cdef ContextGuard* guard = new ContextGuard(device)
    cdef int error = device.driver.memory_info(&free, &device.total_bytes)
    del guard
    return check_driver(device, error)


# The stream that the device computes on, as CuPy knows it.
cdef object stream_of_device(int device):
    opened = opened_gpus.get(device)
    if opened is None:
        raise DeviceError(f"[Device.stream] {device_names[device]} has no stream: only GPUs have")
    return opened.compute


def get_gpu_device_count():
    """The number of GPUs that CUDA would show, which `create_gpu_device` can use if nothing else is missing.

    It asks NVIDIA's management library and leaves CUDA alone, so that forked children may still use it.
    """
    from owl._cuda import nvml

    return nvml.gpu_count()


def has_cuda():
    """Whether a GPU can be used here: there is one, with its driver, CuPy and NVRTC. It leaves CUDA alone."""
    from owl._cuda import nvml

    return nvml.missing() is None
