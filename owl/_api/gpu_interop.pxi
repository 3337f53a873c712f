# Memory of a GPU under another library's name: DLPack's capsules, the CUDA array interface, and owl's memory for CuPy.

cdef const char* CAPSULE = "dltensor"
cdef const char* CAPSULE_VERSIONED = "dltensor_versioned"
cdef const char* CAPSULE_USED = "used_dltensor"
cdef const char* CAPSULE_VERSIONED_USED = "used_dltensor_versioned"

# What the CUDA array interface has shown of an array, until the array is gone: by its address a weak reference and the values.
cdef dict shown_arrays = {}


# ------------------------------------------------------------------------------------------------------------ from owl

cdef void end_capsule(object capsule) noexcept:
    # One that was consumed has another name.
    cdef DlpackManaged* managed
    cdef DlpackVersioned* versioned
    if PyCapsule_IsValid(capsule, CAPSULE):
        managed = <DlpackManaged*>PyCapsule_GetPointer(capsule, CAPSULE)
        managed.deleter(managed)
    elif PyCapsule_IsValid(capsule, CAPSULE_VERSIONED):
        versioned = <DlpackVersioned*>PyCapsule_GetPointer(capsule, CAPSULE_VERSIONED)
        versioned.deleter(versioned)


cdef object gpu_capsule(NArray x, object stream, bint has_versions, bint copied):
    if stream is not None and (not isinstance(stream, int) or stream == 0):
        raise BufferError(f"[__dlpack__] stream is None, -1, 1, 2 or a stream's address, and not {stream!r}")
    check_not_forked()
    cdef Node* node = x.node
    cdef Shape shape = node.shape
    cdef int bits = 64 if node.dtype == DType.f64 else 32
    cdef DlpackDevice device
    device.kind, device.number = dlpack_device_of(x)
    cdef int64_t dims[kMaxDims]
    cdef int d
    for d in range(shape.ndim):
        dims[d] = shape.dim[shape.ndim - 1 - d]
    cdef Buffer* buffer = evaluate(x)
    if copied:
        buffer = duplicate_of(buffer)
    cdef DlpackManaged* managed
    cdef DlpackVersioned* versioned
    if has_versions:
        versioned = lend_versioned(buffer, dims, shape.ndim, bits, device, kCopied if copied else kReadOnly)
        return PyCapsule_New(versioned, CAPSULE_VERSIONED, end_capsule)
    managed = lend(buffer, dims, shape.ndim, bits, device)
    return PyCapsule_New(managed, CAPSULE, end_capsule)


# Takes over the reference, and returns one to a copy on the same device.
cdef Buffer* duplicate_of(Buffer* buffer) except NULL:
    cdef Buffer* copied = NULL
    cdef string problem
    with nogil:
        problem = duplicate(buffer, &copied)
        buffer.release()
    check_download(problem, "copy")
    return copied


cdef object cuda_array_interface_of(NArray x):
    if dlpack_device_of(x)[0] != kCuda:
        raise AttributeError(f"a value of {device_names[x.node.device]} has no __cuda_array_interface__: it is no GPU's")
    check_not_forked()
    cdef tuple shape = numpy_shape(x.node.shape)
    cdef object kind = dtype_object(x.node.dtype)
    cdef Export export = Export.__new__(Export)
    export.buffer = evaluate(x)
    remember_shown(x, export)
    # An array without elements has no address.
    address = <uintptr_t>export.buffer.data if export.buffer.bytes else 0
    return {"version": 3, "shape": shape, "typestr": np.dtype(kind).str, "data": (address, False), "strides": None, "stream": None}


# Consumers hold the array, and the array may be pointed at another value meanwhile.
cdef int remember_shown(NArray x, Export export) except -1:
    key = id(x)
    if key not in shown_arrays:
        shown_arrays[key] = weakref.ref(x, lambda _: shown_arrays.pop(key, None)), []
    cdef Export known
    values = shown_arrays[key][1]
    for known in values:
        if known.buffer is export.buffer:
            return 0
    values.append(export)
    return 0


# ------------------------------------------------------------------------------------------------------------- to owl

@cython.final
cdef class Imported:
    # A tensor of another library's that owl has taken over.
    cdef DlpackManaged* managed
    cdef DlpackVersioned* versioned

    def __dealloc__(self):
        if self.managed is not NULL and self.managed.deleter is not NULL:
            self.managed.deleter(self.managed)
        if self.versioned is not NULL and self.versioned.deleter is not NULL:
            self.versioned.deleter(self.versioned)

    cdef DlpackTensor* tensor(self) noexcept:
        return &self.versioned.tensor if self.versioned is not NULL else &self.managed.tensor


cdef Imported consume(object capsule):
    cdef Imported imported = Imported.__new__(Imported)
    if PyCapsule_IsValid(capsule, CAPSULE_VERSIONED):
        imported.versioned = <DlpackVersioned*>PyCapsule_GetPointer(capsule, CAPSULE_VERSIONED)
        PyCapsule_SetName(capsule, CAPSULE_VERSIONED_USED)
        if imported.versioned.major > kMajor:
            raise BufferError(f"[from_dlpack] DLPack {imported.versioned.major} is newer than what owl knows: {kMajor}")
    elif PyCapsule_IsValid(capsule, CAPSULE):
        imported.managed = <DlpackManaged*>PyCapsule_GetPointer(capsule, CAPSULE)
        PyCapsule_SetName(capsule, CAPSULE_USED)
    else:
        raise TypeError(f"[from_dlpack] __dlpack__ gave no tensor of DLPack's, but {capsule!r}")
    return imported


# An array on owl's device of that GPU. The producer lets the device's stream wait for what it has queued itself.
cdef NArray from_gpu(object x, int index, bint copied):
    cdef int device = device_of_gpu(index)
    cdef uintptr_t stream = stream_of_device(device).ptr
    try:
        capsule = x.__dlpack__(stream=stream, max_version=(1, 0))
    except TypeError:  # from before version 1.0
        capsule = x.__dlpack__(stream=stream)
    cdef Imported imported = consume(capsule)
    cdef DlpackTensor* tensor = imported.tensor()
    check_gpu_tensor(tensor, index)
    cdef DType dtype = DType.f64 if tensor.elements.bits == 64 else DType.f32
    cdef Shape shape
    cdef int d
    shape.ndim = tensor.ndim
    for d in range(tensor.ndim):
        shape.dim[d] = tensor.shape[tensor.ndim - 1 - d]
    check_size(shape, "from_dlpack")
    cdef size_t size = <size_t>shape.size() * (tensor.elements.bits // 8)
    cdef Memory* memory = &scheduler().executors[device].memory()
    Py_INCREF(imported)
    cdef NArray borrowed = leaf(
        shape, dtype, device, borrow_of(<char*>tensor.data + tensor.byte_offset, size, <void*>imported, memory)
    )
    return leaf(shape, dtype, device, duplicate_of(evaluate(borrowed))) if copied else borrowed


cdef int check_gpu_tensor(DlpackTensor* tensor, int index) except -1:
    if tensor.device.kind != kCuda or tensor.device.number != index:
        raise DeviceError(
            f"[from_dlpack] the array said that it lies on DLPack's device ({kCuda}, {index}), and lies on "
            f"({tensor.device.kind}, {tensor.device.number})"
        )
    if tensor.ndim > kMaxDims:
        raise ShapeError(f"[from_dlpack] at most {kMaxDims} dimensions, not {tensor.ndim}")
    if tensor.elements.code != kFloat or tensor.elements.lanes != 1 or tensor.elements.bits not in (32, 64):
        raise DTypeError(
            "[from_dlpack] only elements of float32 and float64 can be borrowed: convert them there first, by "
            "x.astype('float32') or x.float()"
        )
    if not is_contiguous(dereference(tensor)) or (<uintptr_t>tensor.data + tensor.byte_offset) % (tensor.elements.bits // 8):
        raise OwlValueError(
            "[from_dlpack] memory with gaps or in another order cannot be borrowed: copy it there first, by "
            "cupy.ascontiguousarray(x) or x.contiguous()"
        )
    return 0


# ----------------------------------------------------------------------------------------------------- memory for CuPy

def lending_functions():
    """Addresses of the functions that lend a GPU's memory and take it back, as ``CFunctionAllocator`` of CuPy takes them."""
    return <uintptr_t>&lend_memory, <uintptr_t>&return_memory


def lending_device(index):
    """The device whose memory `lending_functions` lend on the GPU of this number; it is created if there is none."""
    check_not_forked()
    return Device(first_device_of_gpu(operator.index(index)))


def settle_exports():
    """Waits until the memory of all values that other libraries have let go of can be used again, without the GIL."""
    cdef size_t i
    for i in range(scheduler().executors.size()):
        with nogil:
            scheduler().executors[i].memory().settle_exports()
