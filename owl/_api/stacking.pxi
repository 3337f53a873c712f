# What owl.aio.pipeline does with every item: taking items out of a list, looking at their types, and stacking them where
# they are ordinary arrays and numbers.
#
# Items come from random places in memory, so what stacking costs is mostly waiting for each header, shape and datum in
# turn. Here they are asked for some items ahead. Whatever is out of the ordinary is left to Python, errors too.

cdef extern from "numpy/arrayobject.h":
    """
    static inline void owl_prefetch(const void *place) { __builtin_prefetch(place, 0, 3); }
    // NumPy's classes as plain pointers: to compare them, Cython would count references to each.
    static inline PyObject *owl_descr(PyObject *array) { return (PyObject *)PyArray_DESCR((PyArrayObject *)array); }
    static inline bool owl_is_array(PyObject *value) { return Py_TYPE(value) == &PyArray_Type; }
    static inline bool owl_is_scalar(PyObject *value) {
        return PyObject_TypeCheck(value, &PyNumberArrType_Type) || PyObject_TypeCheck(value, &PyBoolArrType_Type);
    }
    // Not for a subclass, for which NumPy finds its parent's.
    static inline bool owl_is_type_of(PyObject *descr, PyTypeObject *kind) {
        return ((PyArray_Descr *)descr)->typeobj == kind;
    }
    """
    void owl_prefetch(const void *place) noexcept nogil
    PyObject* owl_descr(PyObject* array) noexcept nogil
    bint owl_is_array(PyObject* value) noexcept nogil
    bint owl_is_scalar(PyObject* value) noexcept nogil
    bint owl_is_type_of(PyObject* descr, PyTypeObject* kind) noexcept nogil

cdef extern from "Python.h":
    PyTypeObject* Py_TYPE(PyObject* value) noexcept nogil
    PyTypeObject PyTuple_Type, PyLong_Type, PyFloat_Type, PyBool_Type
    PyObject** PySequence_Fast_ITEMS(object values) noexcept
    Py_ssize_t PySequence_Fast_GET_SIZE(object values) noexcept
    Py_ssize_t PyTuple_GET_SIZE(PyObject* value) noexcept nogil
    PyObject* PyTuple_GET_ITEM(PyObject* value, Py_ssize_t at) noexcept nogil
    long PyLong_AsLongAndOverflow(PyObject* value, int* overflow) except? -1
    double PyFloat_AS_DOUBLE(PyObject* value) noexcept nogil
    PyObject* Py_True
    list PyList_New(Py_ssize_t size)
    void PyList_SET_ITEM(object values, Py_ssize_t at, PyObject* item) noexcept
    void Py_XINCREF(PyObject* value) noexcept

cdef enum:
    kAhead = 16  # items
    kCopyAhead = 4  # items: there is not room for many more in the cache
    kAheadBytes = 1024  # of an item's data; beyond, the processor has seen where it goes
    kLine = 64
    # Bytes; copying less than this is over sooner than another thread would have the GIL and give it back.
    kWorthReleasing = 1 << 20
    kWorthRecycling = 1 << 20  # of a batch
    kSmall = 1024  # of an item
    kMostDims = 16


def take_items(values not None, list at not None):
    """The items of a list or tuple at many places, as ``operator.itemgetter`` gives them; IndexError outside of it."""
    cdef Py_ssize_t i, place, n, size
    cdef int overflow = 0
    cdef PyObject* item
    cdef PyObject** items
    cdef vector[PyObject**] places
    if type(values) is not list and type(values) is not tuple:
        raise TypeError("a list or tuple is needed")
    n = PySequence_Fast_GET_SIZE(at)
    taken = PyList_New(n)  # first of all: it may collect garbage, and so run anything
    size = PySequence_Fast_GET_SIZE(values)
    items = PySequence_Fast_ITEMS(at)
    places.resize(n)
    for i in range(n):
        if Py_TYPE(items[i]) is not &PyLong_Type:
            raise TypeError("an index must be an int")
        place = PyLong_AsLongAndOverflow(items[i], &overflow)
        if place < 0 or place >= size or overflow:
            raise IndexError("index out of range")
        places[i] = PySequence_Fast_ITEMS(values) + place
        owl_prefetch(places[i])
    for i in range(min(n, <Py_ssize_t> kAhead)):
        owl_prefetch(places[i][0])
    for i in range(n):
        if i + kAhead < n:
            owl_prefetch(places[i + kAhead][0])
        item = places[i][0]
        Py_XINCREF(item)
        PyList_SET_ITEM(taken, i, item)
    return taken


def find_type(list values not None, type kind not None):
    """The index of the first value of exactly that type, or -1."""
    cdef Py_ssize_t i, n = PySequence_Fast_GET_SIZE(values)
    cdef PyObject** items = PySequence_Fast_ITEMS(values)
    for i in range(n):
        if Py_TYPE(items[i]) is <PyTypeObject*> kind:
            return i
    return -1


def stack_values(values not None, allocate=None):
    """Arrays of one shape and dtype, or numbers of one type, as one array with a new first axis.

    ``values``: a list or tuple. ``allocate(shape, dtype)`` makes room for what is not small. None where what is to be
    stacked, or whether it can be, is for Python to say.
    """
    cdef vector[PyObject*] column
    cdef Py_ssize_t i, n
    if type(values) is not list and type(values) is not tuple:
        return None
    n = PySequence_Fast_GET_SIZE(values)
    cdef PyObject** items = PySequence_Fast_ITEMS(values)
    column.assign(items, items + n)
    for i in range(n):
        owl_prefetch(column[i])
        owl_prefetch(<char*> column[i] + kLine)
    return _stack_column(column, allocate)


def stack_members(values not None, allocate=None):
    """The stacked members of tuples of one length, as a list: for each what `stack_values` makes of it.

    None where the values are anything else.
    """
    cdef vector[PyObject*] column
    cdef Py_ssize_t i, n, member, members
    cdef PyObject* value
    cdef PyObject* item
    cdef PyObject** items
    if type(values) is not list and type(values) is not tuple:
        return None
    n = PySequence_Fast_GET_SIZE(values)
    items = PySequence_Fast_ITEMS(values)
    if not n or Py_TYPE(items[0]) is not &PyTuple_Type:
        return None
    members = PyTuple_GET_SIZE(items[0])
    for i in range(n):
        value = items[i]
        if i + kAhead < n:
            owl_prefetch(items[i + kAhead])
        if Py_TYPE(value) is not &PyTuple_Type or PyTuple_GET_SIZE(value) != members:
            return None
    columns = []
    for member in range(members):
        column.resize(n)
        # Making a column may run Python, so the list is looked at anew.
        if PySequence_Fast_GET_SIZE(values) != n:
            return None
        items = PySequence_Fast_ITEMS(values)
        for i in range(n):
            value = items[i]
            if Py_TYPE(value) is not &PyTuple_Type or PyTuple_GET_SIZE(value) != members:
                return None
            item = PyTuple_GET_ITEM(value, member)
            owl_prefetch(item)
            owl_prefetch(<char*> item + kLine)
            column[i] = item
        columns.append(_stack_column(column, allocate))
    return columns


cdef object _stack_column(vector[PyObject*]& column, object allocate):
    """One array of all, or None. The caller has asked for what the column points at, and holds it."""
    if column.empty():
        return None
    cdef PyTypeObject* kind = Py_TYPE(column[0])
    if owl_is_array(column[0]):
        return _stack_arrays(column, allocate)
    if kind is &PyLong_Type:
        return _stack_ints(column)
    if kind is &PyFloat_Type:
        return _stack_floats(column)
    if kind is &PyBool_Type:
        return _stack_bools(column)
    if owl_is_scalar(column[0]):
        return _stack_scalars(column)
    return None


cdef object _stack_arrays(vector[PyObject*]& column, object allocate):
    cdef cnp.ndarray first = <cnp.ndarray> column[0]
    cdef cnp.ndarray array, stacked
    cdef int axis, ndim = cnp.PyArray_NDIM(first), number = cnp.PyArray_TYPE(first)
    cdef Py_ssize_t size = cnp.PyArray_NBYTES(first)
    cdef Py_ssize_t i, count = column.size()
    cdef cnp.npy_intp* shape = cnp.PyArray_DIMS(first)
    cdef cnp.npy_intp dims[kMostDims]
    cdef PyObject* descr = owl_descr(column[0])
    cdef PyObject* ahead
    cdef vector[char*] data
    cdef char* target
    cdef object held = None
    if not ndim or not size or ndim >= kMostDims or not _is_plain(number) or not cnp.PyArray_ISNOTSWAPPED(first):
        return None
    if (<object> descr).metadata is not None:  # which numpy keeps in some ways of stacking, and loses in others
        return None
    data.resize(count)
    for i in range(count):
        if i + kAhead < count:
            ahead = column[i + kAhead]
            if owl_is_array(ahead):
                owl_prefetch(cnp.PyArray_DIMS(<cnp.ndarray> ahead))
        if not owl_is_array(column[i]):
            return None
        array = <cnp.ndarray> column[i]
        if owl_descr(column[i]) is not descr:
            if cnp.PyArray_TYPE(array) != number or not cnp.PyArray_ISNOTSWAPPED(array):
                return None
        if cnp.PyArray_NDIM(array) != ndim or not cnp.PyArray_IS_C_CONTIGUOUS(array):
            return None
        if memcmp(cnp.PyArray_DIMS(array), shape, ndim * sizeof(cnp.npy_intp)):
            return None
        data[i] = <char*> cnp.PyArray_DATA(array)
    dims[0] = count
    for axis in range(ndim):
        dims[axis + 1] = shape[axis]
    # Recycled memory has its price too, which small batches of small items are not worth.
    if allocate is None or (size <= kSmall and size * count < kWorthRecycling):
        stacked = cnp.PyArray_EMPTY(ndim + 1, dims, number, 0)
    else:
        # Making room may run Python, in which the items' owner may drop them.
        held = _hold(column)
        wanted = tuple([dims[axis] for axis in range(ndim + 1)])
        room = allocate(wanted, <object> descr)
        if (type(room) is not np.ndarray or room.shape != wanted or room.dtype != <object> descr
                or not room.flags.c_contiguous or not room.flags.writeable):
            raise OwlTypeError(f"[stack_values] allocate{wanted} gave no writable, C-contiguous array of that shape and of "
                               f"dtype {<object> descr}")
        stacked = <cnp.ndarray> room
    target = <char*> cnp.PyArray_DATA(stacked)
    if size * count < kWorthReleasing:
        _copy(target, data, size)
    else:
        if held is None:
            held = _hold(column)
        with nogil:
            _copy(target, data, size)
    return stacked


cdef void _copy(char* target, vector[char*]& data, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i, at, count = data.size(), ahead = min(size, <Py_ssize_t> kAheadBytes)
    for i in range(count):
        if i + kCopyAhead < count:
            at = 0
            while at < ahead:
                owl_prefetch(data[i + kCopyAhead] + at)
                at += kLine
        memcpy(target + i * size, data[i], size)


cdef tuple _hold(vector[PyObject*]& column):
    return tuple([<object> value for value in column])


cdef bint _is_plain(int number) noexcept nogil:
    """Whether a type number is that of booleans, integers, floats or complex numbers."""
    return number <= cnp.NPY_CLONGDOUBLE or number == cnp.NPY_FLOAT16


cdef object _stack_ints(vector[PyObject*]& column):
    cdef cnp.npy_intp i, count = column.size()
    cdef int overflow = 0
    cdef cnp.ndarray stacked = cnp.PyArray_EMPTY(1, &count, cnp.NPY_LONG, 0)
    cdef long* target = <long*> cnp.PyArray_DATA(stacked)
    for i in range(count):
        if Py_TYPE(column[i]) is not &PyLong_Type:
            return None
        target[i] = PyLong_AsLongAndOverflow(column[i], &overflow)
        if overflow:
            return None
    return stacked


cdef object _stack_floats(vector[PyObject*]& column):
    cdef cnp.npy_intp i, count = column.size()
    cdef cnp.ndarray stacked = cnp.PyArray_EMPTY(1, &count, cnp.NPY_DOUBLE, 0)
    cdef double* target = <double*> cnp.PyArray_DATA(stacked)
    for i in range(count):
        if Py_TYPE(column[i]) is not &PyFloat_Type:
            return None
        target[i] = PyFloat_AS_DOUBLE(column[i])
    return stacked


cdef object _stack_bools(vector[PyObject*]& column):
    cdef cnp.npy_intp i, count = column.size()
    cdef cnp.ndarray stacked = cnp.PyArray_EMPTY(1, &count, cnp.NPY_BOOL, 0)
    cdef cnp.npy_bool* target = <cnp.npy_bool*> cnp.PyArray_DATA(stacked)
    for i in range(count):
        if Py_TYPE(column[i]) is not &PyBool_Type:
            return None
        target[i] = column[i] is Py_True
    return stacked


cdef object _stack_scalars(vector[PyObject*]& column):
    """NumPy's own scalars, all of one type."""
    cdef PyTypeObject* kind = Py_TYPE(column[0])
    cdef cnp.npy_intp i, count = column.size()
    cdef cnp.dtype dtype = cnp.PyArray_DescrFromTypeObject(<object> kind)
    cdef Py_ssize_t size = dtype.itemsize
    if not owl_is_type_of(<PyObject*> dtype, kind) or not _is_plain(dtype.type_num):
        return None
    cdef cnp.ndarray stacked = cnp.PyArray_EMPTY(1, &count, dtype.type_num, 0)
    cdef char* target = <char*> cnp.PyArray_DATA(stacked)
    for i in range(count):
        if Py_TYPE(column[i]) is not kind:
            return None
        cnp.PyArray_ScalarAsCtype(<object> column[i], target + i * size)
    return stacked
