# To and from NumPy.

cdef size_t LARGE = 64 << 10  # bytes from which copying releases the GIL


@cython.final
cdef class Borrowed:
    # Keeps a buffer of somebody else's alive and in place while owl reads it.
    cdef Py_buffer view

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef NArray leaf(object array, DType dtype, Buffer* buffer):
    cdef NArray out = NArray.__new__(NArray)
    cdef Shape shape
    cdef int d
    cdef tuple dims = array.shape
    shape.ndim = <int32_t>len(dims)
    for d in range(shape.ndim):
        shape.dim[shape.ndim - 1 - d] = dims[d]
    cdef RecordingStream* stream = current_stream()
    out.node = record_leaf(shape, dtype, current_device(stream), call_site(), buffer, stream)
    if stream.attention:
        attend(stream)
    return out


def from_numpy(array, dtype=None, copy=True):
    """An owl array with the elements of a NumPy array, or of anything that `numpy.asarray` takes.

    Parameters
    ----------
    array : array_like
        At most 8 dimensions. A C-ordered array is taken as it is, with its dimensions in reverse order.
    dtype : float32 or float64, optional
        float32 by default (or what ``OWL_DTYPE`` says), whatever the dtype of `array`.
    copy : bool
        True copies before it returns (without the GIL from 64 KiB on), so that `array` may be changed at once. False
        borrows: `array` must be C-contiguous and of the right dtype, and must not be changed while owl may read it.

    Examples
    --------
    >>> owl.from_numpy(np.zeros((2, 3))).shape
    [3, 2]
    """
    cdef Py_buffer view
    cdef Buffer* buffer
    cdef Borrowed owner
    cdef DType wanted = parse_dtype(dtype, "from_numpy")
    drain()
    if type(array) is NArray:
        array = to_numpy(<NArray>array)
    kind = dtype_object(wanted)
    if not (type(array) is np.ndarray and array.dtype is kind and array.flags.c_contiguous):
        if not copy:
            raise OwlValueError(f"[from_numpy] only a C-contiguous array of dtype {kind} can be borrowed (copy=False)")
        try:
            array = np.asarray(array)
            if array.dtype.kind not in "fiub":
                raise DTypeError(f"[from_numpy] elements of dtype {array.dtype} are not numbers that owl computes with")
            array = np.ascontiguousarray(array, kind).reshape(array.shape)
        except (TypeError, ValueError) as error:
            if isinstance(error, OwlError):
                raise
            raise DTypeError(f"[from_numpy] this is not an array of numbers: {error}") from None
    if array.ndim > kMaxDims:
        raise ShapeError(f"[from_numpy] at most {kMaxDims} dimensions, not {array.ndim}")
    if not copy:
        owner = Borrowed.__new__(Borrowed)
        PyObject_GetBuffer(array, &owner.view, PyBUF_C_CONTIGUOUS)
        Py_INCREF(owner)
        return leaf(array, wanted, borrow(owner.view.buf, owner.view.len, <void*>owner))
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
    buffer = host_memory().allocate(view.len)
    if buffer is NULL:
        PyBuffer_Release(&view)
        raise OutOfMemoryError(f"[from_numpy] out of memory: {array.nbytes} bytes are needed", "out_of_memory")
    if <size_t>view.len >= LARGE:
        with nogil:
            memcpy(buffer.data, view.buf, view.len)
    else:
        memcpy(buffer.data, view.buf, view.len)
    PyBuffer_Release(&view)
    return leaf(array, wanted, buffer)


cdef object to_numpy(NArray x):
    # Of this value: while evaluate waits, another thread may point the handle at one of another dtype.
    cdef tuple shape = numpy_shape(x.node.shape)
    cdef object kind = dtype_object(x.node.dtype)
    cdef Buffer* buffer = evaluate(x)
    cdef Py_buffer view
    cdef object out
    try:
        out = np.empty(shape, kind)
        PyObject_GetBuffer(out, &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        if <size_t>view.len >= LARGE:
            with nogil:
                memcpy(view.buf, buffer.data, view.len)
        elif view.len:
            memcpy(view.buf, buffer.data, view.len)
        PyBuffer_Release(&view)
    finally:
        buffer.release()
    return out


cdef object count_zeros(NArray x):
    cdef int64_t count = 0
    cdef int64_t size = x.node.shape.size()
    cdef bint single = x.node.dtype == DType.f32
    cdef int64_t i
    cdef Buffer* buffer = evaluate(x)
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
