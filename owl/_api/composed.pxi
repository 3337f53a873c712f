# Functions that record several operations, which the planner makes one pass of where it can.


def arange(start, stop=None, step=1, dtype=None):
    """Numbers at equal distances: `start`, ``start + step``, … up to but not including `stop`.

    Parameters
    ----------
    start, stop, step : number
        With one argument, the numbers from 0 up to it.
    dtype : float32 or float64, optional
        float32 by default, or what ``OWL_DTYPE`` says. Numbers are computed in float64 and rounded once.

    Returns
    -------
    NArray
        One dimension, of ``ceil((stop - start) / step)`` elements; none if that is negative.

    Raises
    ------
    owl.OwlValueError
        If `step` is 0, or a number is NaN or infinite.

    Notes
    -----
    float32 holds whole numbers up to 2^24 only. The numbers are computed at once, on the host.

    Examples
    --------
    >>> owl.arange(4).to_numpy()
    array([0., 1., 2., 3.], dtype=float32)
    >>> owl.arange(1, 2, 0.25).to_numpy()
    array([1.  , 1.25, 1.5 , 1.75], dtype=float32)
    """
    if stop is None:
        start, stop = 0, start
    for value in (start, stop, step):
        if not is_number(value):
            raise DTypeError(f"[arange] a number is wanted, not {value!r}")
    cdef double first = as_double(start, "arange")
    cdef double end = as_double(stop, "arange")
    cdef double distance = as_double(step, "arange")
    cdef double count
    if distance == 0 or not np.isfinite([first, end, distance]).all():
        raise OwlValueError(f"[arange] there are no numbers from {start} to {stop} by {step}")
    count = max(np.ceil((end - first) / distance), 0.0)
    if count > MOST_ELEMENTS:
        raise ShapeError(f"[arange] there are more than {MOST_ELEMENTS} numbers from {start} to {stop} by {step}")
    return from_numpy(np.arange(<int64_t>count) * distance + first, dtype_object(parse_dtype(dtype, "arange")))


def stack(arrays, dim):
    """Arrays of one shape side by side, along a new dimension.

    Parameters
    ----------
    arrays : sequence of NArray
        At least one.
    dim : int
        Where the new dimension lies in the result; -1 is behind all others.

    Raises
    ------
    owl.OwlTypeError, owl.ShapeError, owl.OwlValueError, owl.AxisError
        If one of them is no owl array, if shapes differ, if there is none, or if there is no such dimension.

    Examples
    --------
    >>> owl.stack([owl.zeros([2, 3]), owl.ones([2, 3])], 0).shape
    [2, 2, 3]
    """
    arrays = list(arrays)
    if not arrays:
        raise OwlValueError("[stack] at least one array is needed")
    shape = as_array(arrays[0], "each operand", "stack").shape
    for value in arrays:
        if as_array(value, "each operand", "stack").shape != shape:
            raise ShapeError(f"[stack] shapes {shape} and {value.shape} differ")
    cdef int d = parse_axis(dim, len(shape) + 1, "stack")
    return concat([reshape(<NArray>value, shape[:d] + [1] + shape[d:]) for value in arrays], d)


def pad(x, widths, value=0):
    """An array with a border of `value` around it.

    Parameters
    ----------
    x : NArray
    widths : sequence of (int, int)
        For each dimension how many elements come before and after.
    value : number, optional

    Raises
    ------
    owl.OwlValueError
        If there is not a pair for each dimension, or a width is negative.

    Examples
    --------
    >>> owl.pad(owl.ones([2, 1]), [(1, 2), (0, 1)]).to_numpy()
    array([[0., 1., 1., 0., 0.],
           [0., 0., 0., 0., 0.]], dtype=float32)
    """
    cdef NArray out = as_array(x, "x", "pad")
    cdef int d
    if not is_number(value):
        raise DTypeError(f"[pad] a number is wanted, not {value!r}")
    cdef double filled = as_double(value, "pad")
    pairs = [whole_numbers(pair, "pad", "a pair of widths") for pair in widths]
    if len(pairs) != out.node.shape.ndim or any([len(pair) != 2 or min(pair) < 0 for pair in pairs]):
        raise OwlValueError(f"[pad] a pair of widths from 0 on is wanted for each of {out.node.shape.ndim} dimensions, not "
                            f"{pairs}")
    for d, pair in enumerate(pairs):
        shape, parts = out.shape, [out]
        for k, width in enumerate(pair):
            if width:
                border = fill(shape[:d] + [width] + shape[d + 1:], filled, dtype_object(out.node.dtype), "pad")
                parts.insert(len(parts) * k, border)
        if len(parts) > 1:
            out = concat(parts, d)
    return out


cdef NArray squeeze(NArray x, dim):
    cdef int ndim = x.node.shape.ndim
    cdef int mask, d
    if dim is None:
        return reshape(x, [size for size in x.shape if size != 1])
    mask = parse_axes(dim, ndim, "squeeze")
    for d in range(ndim):
        if mask >> d & 1 and x.node.shape.dim[d] != 1:
            raise ShapeError(f"[squeeze] dimension {d} of shape {x.shape} is not 1")
    return reshape(x, [size for d, size in enumerate(x.shape) if not mask >> d & 1])


# In two passes: the mean first, then the mean of the squares of differences from it. Nothing cancels.
cdef NArray variance(NArray x, axis, str what):
    difference = arithmetic(Elementwise.sub, x, reduction(x, Reduction.sum, axis, True, what), what)
    return reduction(arithmetic(Elementwise.mul, difference, difference, what), Reduction.sum, axis, True, what)


# The largest number is taken out of the exponentials, and put back. It is a constant for derivatives: they do not depend on it.
cdef NArray logsumexp(NArray x, axis):
    cdef RecordingStream* stream = current_stream()
    cdef NArray peak
    tape = swap_tape(stream, None)
    try:
        peak = reduction(x, Reduction.max, axis, False, "logsumexp")
        peak = record_elementwise(<int>Elementwise.where, (unary(Elementwise.isfinite, peak), peak, 0.0), "logsumexp")
    finally:
        swap_tape(stream, tape)
    powers = unary(Elementwise.exp, arithmetic(Elementwise.sub, x, peak, "logsumexp"))
    total = reduction(powers, Reduction.sum, axis, False, "logsumexp")
    return arithmetic(Elementwise.add, unary(Elementwise.ln, total), peak, "logsumexp")
