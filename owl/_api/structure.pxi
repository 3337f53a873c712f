# Reductions, softmax, and everything that moves elements without computing.


cdef NArray reduction(NArray x, Reduction kind, axis, bint mean, str what):
    cdef Draft draft
    cdef ReduceAttributes attributes
    cdef int ndim = x.node.shape.ndim
    cdef int mask, d
    if kind == Reduction.argmax or kind == Reduction.argmin:
        d = parse_axis(axis, ndim, what)
        mask = 1 << d
        check_countable(x, d, what)
    else:
        mask = parse_axes(axis, ndim, what)
    draft.op = Op.reduce
    draft.dtype = x.node.dtype
    draft.shape = x.node.shape
    for d in range(ndim):
        if mask >> d & 1:
            if x.node.shape.dim[d] == 0 and kind != Reduction.sum:
                raise OwlValueError(f"[{what}] dimension {d} of shape {x.shape} is empty: there is nothing to choose from")
            draft.shape.dim[d] = 1
    attributes.reduction = <int64_t>kind
    attributes.axes = mask
    attributes.mean = mean
    draft.set_attributes(attributes)
    draft.add_input(x.node)
    return commit(draft)


cdef NArray transpose(NArray x, axes):
    cdef Draft draft
    cdef TransposeAttributes attributes
    cdef int ndim = x.node.shape.ndim
    cdef int64_t order = 0
    cdef int d, source
    if axes is None:
        axes = range(ndim - 1, -1, -1)
    else:
        axes = [parse_axis(axis, ndim, "trans") for axis in whole_numbers(axes, "trans", "the order of dimensions")]
        if sorted(axes) != list(range(ndim)):
            raise OwlValueError(f"[trans] {axes} does not name each of {ndim} dimensions once")
    draft.op = Op.transpose
    draft.dtype = x.node.dtype
    draft.shape.ndim = ndim
    for d, source in enumerate(axes):
        draft.shape.dim[d] = x.node.shape.dim[source]
        order |= <int64_t>source << (4 * d)
    attributes.order = order
    draft.set_attributes(attributes)
    draft.add_input(x.node)
    return commit(draft)


cdef NArray reshape(NArray x, shape):
    cdef Draft draft
    cdef int64_t size = x.node.shape.size()
    shape = whole_numbers(shape, "reshape", "a shape")
    if shape.count(-1) == 1:
        rest = 1
        for part in shape:
            if part != -1:
                rest *= part
        if rest <= 0 or size % rest:
            raise ShapeError(f"[reshape] {size} elements do not fill shape {list(shape)}")
        shape = [size // rest if part == -1 else part for part in shape]
    parse_shape(shape, &draft.shape, "reshape")
    if draft.shape.size() != size:
        raise ShapeError(f"[reshape] shape {list(shape)} has {draft.shape.size()} elements, the array of shape {x.shape} "
                         f"has {size}")
    draft.op = Op.reshape
    draft.dtype = x.node.dtype
    draft.add_input(x.node)
    return commit(draft)


cdef NArray to_device(NArray x, int device):
    cdef NArray out = NArray.__new__(NArray)
    cdef Draft draft
    cdef RecordingStream* stream = current_stream()
    draft.op = Op.to_device
    draft.dtype = x.node.dtype
    draft.shape = x.node.shape
    draft.device = device
    draft.site = stream.site or call_site()
    draft.add_input(x.node)
    out.node = record(draft, stream, NULL)
    if stream.tape is not NULL:
        tape_operation(stream, draft, out)
    if window_random or stream.attention:
        attend(stream)
    return out


cdef NArray take_slice(NArray x, const Shape& shape, int64_t* stride, int64_t offset):
    cdef Draft draft
    cdef SliceAttributes attributes
    cdef int d
    draft.op = Op.slice
    draft.dtype = x.node.dtype
    draft.shape = shape
    for d in range(kMaxDims):
        attributes.stride[d] = stride[d] if d < shape.ndim else 0
    draft.set_attributes(attributes)
    draft.add_argument(offset)
    draft.add_input(x.node)
    return commit(draft)


cdef NArray get_item(NArray x, key):
    cdef int ndim = x.node.shape.ndim
    cdef Shape shape
    cdef int64_t stride[8]
    cdef int64_t step_of_dim = 1
    cdef int64_t offset = 0
    cdef int d
    key = tuple(key) if isinstance(key, tuple) else (key,)
    given = [part for part in key if part is not Ellipsis]
    if len(key) - len(given) > 1:
        raise OwlIndexError("[NArray] an index may contain one ellipsis only")
    if len(given) > ndim:
        raise OwlIndexError(f"[NArray] {len(given)} indices for an array of {ndim} dimensions")
    fill = [slice(None)] * (ndim - len(given))
    if len(given) != len(key):
        where = [position for position, part in enumerate(key) if part is Ellipsis][0]
        parts = list(key[:where]) + fill + list(key[where + 1:])
    else:
        parts = list(key) + fill
    shape.ndim = 0
    for d in range(ndim):
        part = parts[d]
        size = x.node.shape.dim[d]
        if isinstance(part, slice):
            try:
                start, stop, step = part.indices(size)
            except TypeError:
                raise OwlTypeError(f"[NArray] a slice consists of whole numbers, not {part}") from None
            except ValueError as error:
                raise OwlValueError(f"[NArray] {part} of dimension {d}: {error}") from None
            count = len(range(start, stop, step))
            if count < 2:
                step = 1  # it goes nowhere, however large it is
            shape.dim[shape.ndim] = count
            stride[shape.ndim] = step_of_dim * <int64_t>step
            shape.ndim += 1
            if count:
                offset += step_of_dim * <int64_t>start
        elif hasattr(part, "__index__") and not isinstance(part, (bool, np.bool_)):
            position = operator.index(part)
            if not -size <= position < size:
                raise OwlIndexError(f"[NArray] index {position} is outside dimension {d} of {size}")
            offset += step_of_dim * <int64_t>(position % size)
        else:
            raise OwlIndexError(f"[NArray] indices are whole numbers, slices and one ellipsis, not {part!r}")
        step_of_dim *= size
    return take_slice(x, shape, stride, offset)


def slice_(x, dim, start, count):
    """`count` neighbouring elements along a dimension, from `start` on.

    Parameters
    ----------
    x : NArray
    dim : int
    start, count : int
        In elements; the piece must lie inside the array.

    Raises
    ------
    IndexError
        If it does not.

    Examples
    --------
    >>> owl.slice(owl.ones([4, 3]), 1, 0, 2).shape
    [4, 2]
    """
    if type(x) is not NArray:
        raise OwlTypeError(f"[slice] an owl array is wanted, not {type(x).__name__}")
    cdef int d = parse_axis(dim, (<NArray>x).node.shape.ndim, "slice")
    size = (<NArray>x).node.shape.dim[d]
    start, count = whole_numbers((start, count), "slice", "a place")
    if start < 0 or count < 0 or start + count > size:
        raise OwlIndexError(f"[slice] {count} elements from {start} on do not lie inside dimension {d} of {size}")
    return get_item(<NArray>x, (slice(None),) * d + (slice(start, start + count),))


def concat(arrays, dim):
    """Arrays one after the other along a dimension.

    Parameters
    ----------
    arrays : sequence of NArray
        At least one; equal in all other dimensions.
    dim : int

    Examples
    --------
    >>> owl.concat([owl.zeros([2, 3]), owl.ones([2, 1])], 1).shape
    [2, 4]
    """
    cdef Draft draft
    cdef ConcatAttributes attributes
    cdef NArray first, array
    cdef int d, along
    cdef int64_t total = 0
    cdef DType dtype = DType.f32
    arrays = list(arrays)
    if not arrays:
        raise OwlValueError("[concat] at least one array is needed")
    for value in arrays:
        if type(value) is not NArray:
            raise OwlTypeError(f"[concat] owl arrays are wanted, not {type(value).__name__}")
        if (<NArray>value).node.dtype == DType.f64:
            dtype = DType.f64
    arrays = [value if (<NArray>value).node.dtype == dtype else cast(<NArray>value, dtype) for value in arrays]
    first = <NArray>arrays[0]
    along = parse_axis(dim, first.node.shape.ndim, "concat")
    for value in arrays:
        array = <NArray>value
        if array.node.shape.ndim != first.node.shape.ndim:
            raise ShapeError(f"[concat] shapes {first.shape} and {array.shape} differ in their number of dimensions")
        for d in range(first.node.shape.ndim):
            if d != along and array.node.shape.dim[d] != first.node.shape.dim[d]:
                raise ShapeError(f"[concat] shapes {first.shape} and {array.shape} differ in dimension {d}")
        total += array.node.shape.dim[along]
        if total > MOST_ELEMENTS:
            raise ShapeError(f"[concat] {len(arrays)} arrays have more than {MOST_ELEMENTS} elements along dimension {along}")
    draft.op = Op.concat
    draft.dtype = dtype
    draft.shape = first.node.shape
    draft.shape.dim[along] = total
    check_size(draft.shape, "concat")
    attributes.dimension = along
    draft.set_attributes(attributes)
    if not draft.reserve(<uint32_t>len(arrays)):
        raise_no_memory_to_record()
    for value in arrays:
        draft.add_input((<NArray>value).node)
    return commit(draft)


def softmax(x, mode=0):
    """Exponentials normalised to a sum of 1, over each instance or over the channels at each place.

    Parameters
    ----------
    x : NArray
        At least 2 dimensions, the last one counting instances.
    mode : owl.conv.soft_op
        `instance` (the default) normalises over all dimensions but the last, `channel` over the last but one.

    Returns
    -------
    NArray
        Of the same shape.

    Examples
    --------
    >>> owl.conv.softmax(owl.zeros([4, 1])).to_numpy()
    array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """
    return record_softmax(Op.softmax, x, mode, "softmax")


def log_softmax(x, mode=0):
    """The natural logarithm of `softmax`, exact where that underflows: ``x - max(x) - ln(sum(exp(x - max(x))))``.

    Parameters
    ----------
    x : NArray
        At least 2 dimensions, the last one counting instances.
    mode : owl.conv.soft_op
        As for `softmax`.

    Returns
    -------
    NArray
        Of the same shape. Neither the exponential nor the logarithm overflows; it records, and does not block.

    Raises
    ------
    owl.OwlTypeError, owl.ShapeError, owl.OwlValueError
        As `softmax` does.

    Examples
    --------
    >>> owl.conv.log_softmax(owl.from_numpy(np.array([[0.0, -1000.0]]))).to_numpy()
    array([[    0., -1000.]], dtype=float32)
    """
    return record_softmax(Op.log_softmax, x, mode, "log_softmax")


cdef NArray record_softmax(Op op, x, mode, str what):
    cdef Draft draft
    cdef SoftmaxAttributes attributes
    if type(x) is not NArray:
        raise OwlTypeError(f"[{what}] an owl array is wanted, not {type(x).__name__}")
    cdef NArray array = <NArray>x
    cdef int ndim = array.node.shape.ndim
    if ndim < 2:
        raise ShapeError(f"[{what}] at least 2 dimensions are wanted, not shape {array.shape}")
    if mode not in (0, 1):
        raise OwlValueError(f"[{what}] the mode is soft_op.instance or soft_op.channel, not {mode!r}")
    draft.op = op
    draft.dtype = array.node.dtype
    draft.shape = array.node.shape
    attributes.first = ndim - 2 if mode == 1 else 0
    attributes.end = ndim - 1
    draft.set_attributes(attributes)
    draft.add_input(array.node)
    return commit(draft)


def cross_entropy(z, label):
    """The cross entropy of ``softmax(z)`` and `label`, one number for each instance: ``-sum(label * log_softmax(z))``.

    Parameters
    ----------
    z : NArray
        ``[classes, n]``: what `softmax` would get.
    label : NArray
        ``[classes, n]``: one-hot, or probabilities. A class whose label is 0 costs nothing, however improbable it is.

    Returns
    -------
    NArray
        ``[1, n]``; ``.mean()`` is the loss of the batch. Finite wherever the true value is: it is computed from `z`, and
        neither the exponential nor the logarithm overflows. It records, and does not block.

    Raises
    ------
    owl.OwlTypeError
        If one of them is no owl array.
    owl.ShapeError
        If they are not of one shape of 2 dimensions and at least 1 class.

    Examples
    --------
    >>> z = owl.from_numpy(np.array([[0.0, 0.0], [1000.0, -1000.0]]))
    >>> label = owl.from_numpy(np.array([[1.0, 0.0], [0.0, 1.0]]))
    >>> owl.conv.cross_entropy(z, label).to_numpy()
    array([[6.931472e-01],
           [2.000000e+03]], dtype=float32)
    """
    return record_cross_entropy(Op.cross_entropy, z, label, "cross_entropy")


def cross_entropy_back(z, label):
    """The gradient of the sum of `cross_entropy` by `z`, ``softmax(z) - label``, in one pass.

    That is the gradient where each instance's label sums to 1, as probabilities do.

    Parameters
    ----------
    z, label : NArray
        As for `cross_entropy`.

    Returns
    -------
    NArray
        ``[classes, n]``, with the bits of ``owl.conv.softmax(z) - label``. It records, and does not block.

    Examples
    --------
    >>> owl.conv.cross_entropy_back(owl.zeros([2, 1]), owl.from_numpy(np.array([[1.0, 0.0]]))).to_numpy()
    array([[-0.5,  0.5]], dtype=float32)
    """
    return record_cross_entropy(Op.cross_entropy_back, z, label, "cross_entropy_back")


cdef NArray record_cross_entropy(Op op, z, label, str what):
    cdef Draft draft
    cdef SoftmaxAttributes attributes
    cdef NArray scores = as_array(z, "z", what)
    cdef NArray labels = as_array(label, "the label", what)
    if scores.node.shape.ndim != 2 or scores.node.shape.dim[0] == 0:
        raise ShapeError(f"[{what}] z has the shape [classes, n] with at least 1 class, not {scores.shape}")
    if labels.shape != scores.shape:
        raise ShapeError(f"[{what}] z has shape {scores.shape}, the label {labels.shape}")
    draft.op = op
    draft.dtype = common_dtype((scores, labels))
    draft.shape = scores.node.shape
    attributes.first = 0
    attributes.end = 1
    draft.set_attributes(attributes)
    if op == Op.cross_entropy:
        draft.shape.dim[0] = 1
    scores, labels = converted(scores, draft.dtype), converted(labels, draft.dtype)
    draft.add_input(scores.node)
    draft.add_input(labels.node)
    return commit(draft)
