# To and from NumPy.

cdef size_t LARGE = 64 << 10  # bytes from which copying releases the GIL


@cython.final
cdef class Borrowed:
    # Keeps a buffer of somebody else's alive and in place while owl reads it.
    cdef Py_buffer view

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


@cython.final
cdef class StagingMemory:
    # Memory of the host's from which a device copies by itself: a buffer for others to fill and to borrow from.
    cdef Buffer* buffer

    def __dealloc__(self):
        if self.buffer is not NULL:
            self.buffer.release()

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.buffer.data, <Py_ssize_t>self.buffer.bytes, False, flags)


def staging_memory(size_t size, device):
    """So many bytes, as a NumPy array, from which `device` copies beside other work; None where any memory will do."""
    cdef int number = check_device(device, "staging_memory")
    if not has_own_memory[number]:
        return None
    cdef StagingMemory memory = StagingMemory.__new__(StagingMemory)
    memory.buffer = take_memory(size, number, "staging_memory")
    return np.frombuffer(memory, np.uint8)


cdef Shape shape_of(object array):
    cdef Shape shape
    cdef int d
    cdef tuple dims = array.shape
    shape.ndim = <int32_t>len(dims)
    for d in range(shape.ndim):
        shape.dim[shape.ndim - 1 - d] = dims[d]
    return shape


# An array on a device, of what the host's memory holds, or the device's own; takes over the reference to that.
cdef NArray leaf(const Shape& shape, DType dtype, int device, Buffer* buffer):
    cdef NArray out
    try:
        check_reserve()
        out = NArray.__new__(NArray)
    except BaseException:
        buffer.release()
        raise
    cdef RecordingStream* stream = current_stream()
    if has_own_memory[device]:
        out.node = record_leaf(shape, dtype, device, call_site(), NULL, stream)
        graph().mutex.lock()
        scheduler().upload(out.node, buffer)
        graph().mutex.unlock()
    else:
        out.node = record_leaf(shape, dtype, device, call_site(), buffer, stream)
    if stream.attention:
        attend(stream)
    return out


# A NumPy array whose elements are the buffer's; it must be gone before the buffer is released.
cdef cnp.ndarray array_over(Buffer* buffer, DType dtype, const Shape& shape):
    cdef cnp.npy_intp dims[kMaxDims]
    cdef int d
    for d in range(shape.ndim):
        dims[d] = shape.dim[shape.ndim - 1 - d]
    return cnp.PyArray_SimpleNewFromData(shape.ndim, dims, cnp.NPY_DOUBLE if dtype == DType.f64 else cnp.NPY_FLOAT,
                                         buffer.data)


# Elements of another dtype or order are converted on their way, in one pass.
cdef Buffer* copy_of(cnp.ndarray array, DType dtype, int device, bint as_it_is) except NULL:
    cdef Shape shape
    cdef int d
    cdef size_t size = cnp.PyArray_SIZE(array) * (8 if dtype == DType.f64 else 4)
    cdef Buffer* buffer = take_memory(size, device, "from_numpy")
    cdef void* source
    if not as_it_is:
        shape.ndim = cnp.PyArray_NDIM(array)
        for d in range(shape.ndim):
            shape.dim[shape.ndim - 1 - d] = cnp.PyArray_DIM(array, d)
        try:
            np.copyto(array_over(buffer, dtype, shape), array, casting="unsafe")
        except BaseException:  # a warning about a number too large may be an error
            buffer.release()
            raise
    elif size >= LARGE:
        source = cnp.PyArray_DATA(array)
        with nogil:
            if has_own_memory[device]:
                copy_on_host(buffer.data, source, size)
            else:
                memcpy(buffer.data, source, size)
    else:
        memcpy(buffer.data, cnp.PyArray_DATA(array), size)
    return buffer


def from_numpy(array, dtype=None, copy=True):
    """An owl array with the elements of a NumPy array, or of anything that `numpy.asarray` takes.

    Parameters
    ----------
    array : array_like
        At most 8 dimensions. A C-ordered array is taken as it is, with its dimensions in reverse order.
    dtype : float32 or float64, optional
        float32 by default (or what ``OWL_DTYPE`` says), whatever the dtype of `array`.
    copy : bool or None
        True copies before it returns (without the GIL from 64 KiB on), so that `array` may be changed at once. False
        borrows: `array` must be a C-contiguous NumPy array of the right dtype, and must not be changed while owl may read it.
        None borrows what can be borrowed and copies what cannot, as `numpy.asarray` does.

    Examples
    --------
    >>> owl.from_numpy(np.zeros((2, 3))).shape
    [3, 2]
    """
    cdef Buffer* buffer
    cdef Borrowed owner
    cdef DType wanted = parse_dtype(dtype, "from_numpy")
    cdef bint given = isinstance(array, (np.ndarray, NArray))
    cdef bint as_it_is
    cdef int device
    release_deferred()
    if type(array) is NArray:
        array = to_numpy(<NArray>array)
    kind = dtype_object(wanted)
    if type(array) is not np.ndarray:
        try:
            array = np.asarray(array)
        except (TypeError, ValueError) as error:
            if isinstance(error, OwlError):
                raise
            raise DTypeError(f"[from_numpy] this is not an array of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"[from_numpy] elements of dtype {array.dtype} are not numbers that owl computes with")
    if array.ndim > kMaxDims:
        raise ShapeError(f"[from_numpy] at most {kMaxDims} dimensions, not {array.ndim}")
    check_size(shape_of(array), "from_numpy")
    as_it_is = array.dtype == kind and array.flags.c_contiguous and array.flags.aligned
    if not copy and copy is not None and not (as_it_is and given):
        raise OwlValueError(f"[from_numpy] only a C-contiguous NumPy array of dtype {kind} can be borrowed (copy=False)")
    device = current_device(current_stream())
    if copy or not as_it_is:
        return leaf(shape_of(array), wanted, device, copy_of(array, wanted, device, as_it_is))
    owner = Borrowed.__new__(Borrowed)
    PyObject_GetBuffer(array, &owner.view, PyBUF_C_CONTIGUOUS)
    Py_INCREF(owner)
    return leaf(shape_of(array), wanted, device, borrow(owner.view.buf, owner.view.len, <void*>owner))


cdef object to_numpy(NArray x):
    # Of this value: while evaluate waits, another thread may point the handle at one of another dtype.
    cdef tuple shape = numpy_shape(x.node.shape)
    cdef object kind = dtype_object(x.node.dtype)
    cdef Buffer* buffer = evaluate(x)
    cdef Py_buffer view
    cdef string problem
    cdef object out
    try:
        out = np.empty(shape, kind)
        PyObject_GetBuffer(out, &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        if <size_t>view.len >= LARGE or not buffer.memory.host:
            with nogil:
                problem = buffer.memory.download(buffer, view.buf, view.len)
        elif view.len:
            memcpy(view.buf, buffer.data, view.len)
        PyBuffer_Release(&view)
        check_download(problem, "to_numpy")
    finally:
        buffer.release()
    return out


cdef int check_download(const string& problem, str caller) except -1:
    if problem.size():
        raise DeviceError(f"[{caller}] {problem.decode()}")
    return 0


cdef object count_zeros(NArray x):
    cdef int64_t count = 0
    cdef int64_t size = x.node.shape.size()
    cdef bint single = x.node.dtype == DType.f32
    cdef int64_t i
    cdef Buffer* there
    cdef string problem
    cdef Buffer* buffer = evaluate(x)
    if not buffer.memory.host:
        there = buffer
        try:
            buffer = take_memory(there.bytes, x.node.device, "count_zero")
            with nogil:
                problem = there.memory.download(there, buffer.data, there.bytes)
        finally:
            there.release()
        if problem.size():
            buffer.release()
        check_download(problem, "count_zero")
    cdef float* singles = <float*>buffer.data
    cdef double* doubles = <double*>buffer.data
    with nogil:
        if single:
            for i in range(size):
                count += singles[i] == 0
        else:
            for i in range(size):
                count += doubles[i] == 0
        buffer.release()
    return count
