# The same memory under another library's name: DLPack.

# As DLPack numbers them: kDLCPU, kDLCUDA, kDLExtDev.
cdef dict DLPACK_KINDS = {"cpu": 1, "gpu": 2, "remote": 12}
cdef tuple DLPACK_CPU = (1, 0)
cdef tuple DLPACK_ON_THE_HOST = (1, 3)  # kDLCPU, kDLCUDAHost
cdef bint NUMPY_TELLS = tuple(map(int, np.__version__.split(".")[:2])) >= (2, 1)  # that an array is read-only
cdef object home_lock = threading.Lock()
cdef object home_device = None  # a CPU device for memory of the host's, where the current device is none


@cython.final
cdef class Export:
    # Keeps a value's buffer for another library. While it does, the runtime does not write there: it is a reader more.
    cdef Buffer* buffer

    def __dealloc__(self):
        if self.buffer is not NULL:
            self.buffer.memory.end_export(self.buffer)


# A read-only NumPy array over the memory of a value on a CPU.
cdef object view_of(NArray x):
    cdef Node* node = x.node
    cdef DType dtype = node.dtype
    cdef Shape shape = node.shape
    cdef Export owner = Export.__new__(Export)
    owner.buffer = evaluate(x)
    cdef cnp.ndarray view = array_over(owner.buffer, dtype, shape)
    cnp.set_array_base(view, owner)
    view.flags.writeable = False
    return view


cdef tuple dlpack_device_of(NArray x):
    kind, _, number = device_names[x.node.device].partition(":")
    return DLPACK_KINDS[kind], int(number) if kind != "cpu" else 0


cdef object dlpack_of(NArray x, object stream, object max_version, object dl_device, object copy):
    cdef tuple there = dlpack_device_of(x)
    wanted = there if dl_device is None else tuple(map(int, dl_device))
    if there[0] == kCuda and wanted == there:
        return gpu_capsule(x, stream, max_version is not None and tuple(max_version) >= (1, 0), bool(copy))
    if wanted != DLPACK_CPU:
        raise BufferError(
            f"[__dlpack__] a value of {device_names[x.node.device]} cannot be had on DLPack's device {wanted}: "
            "only memory of the host can, by dl_device=(1, 0), or by x.to(device) with a CPU device"
        )
    if stream is not None:
        raise BufferError(f"[__dlpack__] memory of the host has no streams, so stream must be None, not {stream!r}")
    if there != wanted and copy is False:
        raise BufferError(f"[__dlpack__] a value of {device_names[x.node.device]} can be had on the host as a copy only")
    told_of_read_only = NUMPY_TELLS and max_version is not None and tuple(max_version) >= (1, 0)
    if there != wanted or copy or (copy is None and not told_of_read_only):
        value = to_numpy(x)
    elif not told_of_read_only:
        raise BufferError("[__dlpack__] the memory is read-only, which DLPack says from version 1.0 on: pass max_version=(1, 0)")
    else:
        value = view_of(x)
    return value.__dlpack__(max_version=max_version) if told_of_read_only else value.__dlpack__()


def from_dlpack(x, copy=None):
    """An owl array with the memory of another library's array, which must not be changed while owl may read it.

    Memory of a GPU becomes a value of that GPU's owl device. What the other library has queued for the array comes first:
    owl hands it the stream that it computes on.

    Parameters
    ----------
    x : object
        An array with ``__dlpack__`` of version 1.0 or older: NumPy's, PyTorch's, JAX's, CuPy's. It is C-contiguous, lies in
        the host's memory or a CUDA GPU's, and its elements are float32 or float64. Its dimensions come in reverse order, as
        in `from_numpy`.
    copy : bool, optional
        None and False borrow the memory until its last reader is gone, and of a GPU's what was computed from it on the
        device; True copies before it returns.

    Returns
    -------
    NArray
        Of the host's memory on the current device if that is a CPU, and otherwise on a CPU device that all such arrays share.
        Of a GPU's memory on the current device if that is one of this GPU, and otherwise on the first such device, which is
        created if there is none.

    Raises
    ------
    TypeError
        If `x` has no ``__dlpack__``.
    owl.DeviceError
        If its memory is neither the host's nor that of a GPU that CUDA shows, or the GPU cannot be used.
    owl.DTypeError, owl.OwlValueError
        If it has another dtype, or gaps between its elements: the error names the copy to make.

    Notes
    -----
    Waits for nothing of owl's, but for the copy of a GPU's memory with ``copy=True``. Any thread may call it.

    Examples
    --------
    >>> owl.from_dlpack(np.zeros((2, 3))).shape
    [3, 2]
    """
    cdef int device
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise TypeError(f"[from_dlpack] an array with __dlpack__ is wanted, not {type(x).__name__}")
    kind, number = x.__dlpack_device__()
    if int(kind) == kCuda:
        return from_gpu(x, int(number), bool(copy))
    if int(kind) not in DLPACK_ON_THE_HOST:
        raise DeviceError(
            f"[from_dlpack] memory of DLPack's device ({int(kind)}, {int(number)}) is neither the host's nor CUDA's: "
            "copy it to the host first"
        )
    array = np.from_dlpack(x)
    if array.dtype != np.float32 and array.dtype != np.float64:
        raise DTypeError(
            f"[from_dlpack] elements of dtype {array.dtype} cannot be borrowed: owl.from_numpy(numpy.from_dlpack(x)) copies them"
        )
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise OwlValueError(
            "[from_dlpack] memory with gaps or in another order cannot be borrowed: "
            "owl.from_numpy(numpy.from_dlpack(x), dtype=...) copies it"
        )
    with home_of_host_memory():
        return from_numpy(array, dtype=array.dtype, copy=bool(copy))


# The current device where that is a CPU; a device that all such arrays share where it is not.
cdef object home_of_host_memory():
    global home_device
    cdef int device = current_device(current_stream())
    if not has_own_memory[device]:
        return Device(device)
    with home_lock:
        if home_device is None:
            home_device = create_cpu_device()
        return home_device
