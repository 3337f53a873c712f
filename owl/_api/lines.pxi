# Operations along a dimension: running sums, and pieces by their positions.


cdef NArray running_sum(NArray x, axis):
    cdef Draft draft
    cdef CumsumAttributes attributes
    attributes.dimension = parse_axis(axis, x.node.shape.ndim, "cumsum")
    attributes.reverse = 0
    draft.op = Op.cumsum
    draft.dtype = x.node.dtype
    draft.shape = x.node.shape
    draft.set_attributes(attributes)
    draft.add_input(x.node)
    return commit(draft)


def take(x, indices, dim):
    """Pieces along a dimension by their positions, in any order and any number of times.

    Parameters
    ----------
    x : NArray
    indices : NArray
        Whole numbers from 0 on, in float32 or float64. They are converted to the dtype of `x`.
    dim : int
        The dimension that the positions are in. The dimensions of `indices` take its place.

    Returns
    -------
    NArray
        NaN stands in the place of a piece whose index is no position: a negative number, one that is not whole, or one as
        large as the dimension. An error would be too late, as the numbers are not known when this is recorded.

    Raises
    ------
    owl.OwlTypeError, owl.AxisError, owl.ShapeError
        If an operand is no owl array, if there is no such dimension, or if the result had more than 8 dimensions.
    owl.OwlValueError
        If the dimension is empty and `indices` is not, or is longer than float32 can count while `x` is float32.

    Notes
    -----
    The gradient adds up what comes from each position, in the order of the indices: the same bits on any number of threads.
    What stands for no position adds to nothing. It records, and does not block.

    Examples
    --------
    >>> table = owl.from_numpy(np.array([[1, 2], [3, 4], [5, 6]]))  # three rows of two features: [2, 3]
    >>> owl.take(table, owl.from_numpy(np.array([2, 0, 2])), 1).to_numpy()
    array([[5., 6.],
           [1., 2.],
           [5., 6.]], dtype=float32)
    """
    cdef Draft draft
    cdef TakeAttributes attributes
    cdef NArray source = as_array(x, "x", "take")
    cdef NArray places = as_array(indices, "the array of indices", "take")
    cdef int ndim = source.node.shape.ndim
    cdef int d = parse_axis(dim, ndim, "take")
    cdef int64_t length = source.node.shape.dim[d]
    shape = source.shape[:d] + places.shape + source.shape[d + 1:]
    if length == 0 and places.node.shape.size():
        raise OwlValueError(f"[take] dimension {d} of shape {source.shape} is empty: there is nothing to take")
    check_countable(source, d, "take")
    parse_shape(shape, &draft.shape, "take")
    places = converted(places, source.node.dtype)
    attributes.dimension = d
    draft.op = Op.take
    draft.dtype = source.node.dtype
    draft.set_attributes(attributes)
    draft.add_input(source.node)
    draft.add_input(places.node)
    return commit(draft)


# Positions in a dimension are numbers of the array's dtype.
cdef int check_countable(NArray x, int d, str what) except -1:
    if x.node.dtype == DType.f32 and x.node.shape.dim[d] > (1 << 24):
        raise OwlValueError(f"[{what}] dimension {d} has {x.node.shape.dim[d]} elements, and float32 holds whole numbers "
                            f"up to {1 << 24} only: convert to dtype=\"float64\" first, as x.astype(\"float64\")")
    return 0


def one_hot(labels, classes):
    """A column for each label, of zeros and a 1 in the label's place.

    Parameters
    ----------
    labels : NArray
        Whole numbers from 0 on, of any shape.
    classes : int
        How many places a column has.

    Returns
    -------
    NArray
        ``[classes, ...]`` with the dimensions and the dtype of `labels`. A label that is no place has a column of zeros.

    Notes
    -----
    Where `take` by the labels would do, it is faster. It records, and does not block.

    Examples
    --------
    >>> owl.one_hot(owl.from_numpy(np.array([2, 0])), 3).to_numpy()
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    cdef NArray array = as_array(labels, "the array of labels", "one_hot")
    [count] = whole_numbers((classes,), "one_hot", "the number of classes")
    if count < 0:
        raise OwlValueError(f"[one_hot] the number of classes cannot be {count}")
    columns = reshape(array, [1] + array.shape)
    places = reshape(arange(count, dtype=dtype_object(array.node.dtype)), [count] + [1] * array.node.shape.ndim)
    return arithmetic(Elementwise.eq, columns, places, "one_hot")
