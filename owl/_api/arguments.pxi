# Checks of what users pass in: shapes, dtypes, axes, numbers. Each error begins with the function that was called.

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)


cdef object dtype_object(DType dtype):
    return FLOAT64 if dtype == DType.f64 else FLOAT32


cdef DType parse_dtype(dtype, str what) except *:
    if dtype is None:
        return unnamed_dtype
    if dtype is FLOAT32:
        return DType.f32
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"[{what}] {dtype!r} is not a dtype") from None
    if wanted == FLOAT32:
        return DType.f32
    if wanted == FLOAT64:
        return DType.f64
    raise DTypeError(f"[{what}] owl computes with float32 and float64, not {wanted}")


# Of arrays made without a `dtype=`: a script that names none runs in double precision, too.
cdef DType unnamed_dtype = parse_dtype(os.environ.get("OWL_DTYPE") or FLOAT32, "OWL_DTYPE")


def default_dtype():
    """The dtype of arrays that are made without one: float32, or what ``OWL_DTYPE`` says. Does not evaluate."""
    return dtype_object(unnamed_dtype)


cdef list shape_list(const Shape& shape):
    return [shape.dim[d] for d in range(shape.ndim)]


cdef tuple numpy_shape(const Shape& shape):
    return tuple([shape.dim[shape.ndim - 1 - d] for d in range(shape.ndim)])


# One whole number or several, as a tuple of ints: it stays as it is, whatever the caller's sequence says of itself.
cdef tuple whole_numbers(values, str what, str name):
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if hasattr(values, "__index__"):
        values = (values,)
    try:
        values = tuple(values)
    except TypeError:
        raise DTypeError(f"[{what}] {name} is a whole number or a list of them, not {values!r}") from None
    numbers = []
    for value in values:
        try:
            numbers.append(operator.index(value))
        except TypeError:
            raise DTypeError(f"[{what}] {name} consists of whole numbers, not {value!r}: {list(values)}") from None
    return tuple(numbers)


cdef int parse_shape(shape, Shape* out, str what) except -1:
    shape = whole_numbers(shape, what, "a shape")
    if len(shape) > kMaxDims:
        raise ShapeError(f"[{what}] at most {kMaxDims} dimensions, not {len(shape)}: {list(shape)}")
    out.ndim = <int32_t>len(shape)
    cdef int d = 0
    for size in shape:
        if size < 0:
            raise ShapeError(f"[{what}] a dimension cannot be negative: {list(shape)}")
        try:
            out.dim[d] = size
        except OverflowError:
            raise ShapeError(f"[{what}] a dimension of {size} is too large") from None
        d += 1
    return check_size(dereference(out), what)


cdef int64_t MOST_ELEMENTS = <int64_t>1 << 46


# Every shape that is not that of an operand passes here. Dimensions of 0 do not count, as in NumPy: any product of
# some of the others is small enough to compute with, whatever a reduction or a broadcast makes of the zeros.
cdef int check_size(const Shape& shape, str what) except -1:
    cdef int64_t total = 1
    cdef int d
    for d in range(shape.ndim):
        if shape.dim[d] < 2:
            continue
        if total > MOST_ELEMENTS // shape.dim[d]:
            raise ShapeError(f"[{what}] an array of shape {shape_list(shape)} is too large")
        total *= shape.dim[d]
    return 0


cdef int parse_axis(axis, int ndim, str what) except -1:
    try:
        number = operator.index(axis)
    except TypeError:
        raise DTypeError(f"[{what}] a dimension is a whole number, not {axis!r}") from None
    if not -ndim <= number < ndim:
        raise AxisError(f"[{what}] there is no dimension {number} in an array of {ndim} dimensions")
    return number + ndim if number < 0 else number


cdef int parse_axes(axes, int ndim, str what) except -1:
    # A bit mask.
    if axes is None:
        return (1 << ndim) - 1
    if not isinstance(axes, (list, tuple)):
        axes = (axes,)
    cdef int mask = 0
    for axis in axes:
        bit = 1 << parse_axis(axis, ndim, what)
        if mask & bit:
            raise OwlValueError(f"[{what}] dimension {axis} is given twice: {list(axes)}")
        mask |= bit
    return mask


# A number as owl computes with it. Larger ones than a float can hold are refused, as NumPy does.
cdef double as_double(value, str what) except? -1.5:
    try:
        return value
    except OverflowError:
        raise OwlOverflowError(f"[{what}] a whole number of {int(value).bit_length()} bits is too large for a float") from None
    except (TypeError, ValueError):
        raise DTypeError(f"[{what}] a number is wanted, not {value!r}") from None


cdef object is_number(value):
    # Numbers take part element by element; NumPy scalars and 0-d arrays count as numbers.
    if isinstance(value, (float, int, np.floating, np.integer, np.bool_)):
        return True
    return isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "fiub"


cdef int broadcast(const Shape& a, const Shape& b, Shape* out, str what) except -1:
    cdef int d
    if a.ndim != b.ndim:
        raise ShapeError(f"[{what}] shapes {shape_list(a)} and {shape_list(b)} differ in their number of dimensions")
    out.ndim = a.ndim
    for d in range(a.ndim):
        if a.dim[d] == b.dim[d] or b.dim[d] == 1:
            out.dim[d] = a.dim[d]
        elif a.dim[d] == 1:
            out.dim[d] = b.dim[d]
        else:
            raise ShapeError(f"[{what}] shapes {shape_list(a)} and {shape_list(b)} differ in dimension {d}")
    return check_size(dereference(out), what)
