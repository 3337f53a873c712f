# How exactly products of matrices and convolutions are computed: a setting of the process, which each one keeps from where it was
# recorded.

cdef tuple PRECISIONS = ("highest", "high")  # by the numbers of the engine's Precision
cdef int64_t HIGHEST = 0
cdef int64_t matmul_precision = HIGHEST


def set_matmul_precision(precision):
    """Sets how exactly matrix products and convolutions of float32 are computed from here on.

    ``"highest"``, the default, multiplies float32 numbers. ``"high"`` lets GPUs round them to TF32 first, which has 10 bits of
    mantissa instead of 23, and adds in float32, which is what tensor cores are for. It concerns large products where there is
    cuBLAS, and convolutions with more than 16 channels in a group of the result, forward and backward in the data. All others,
    float64 and CPUs give the same bits either way.

    The setting is the process's, for all threads and tasks. An operation keeps the one under which it was recorded, whenever it
    is computed. Evaluates nothing and does not block; any thread may call it.

    Parameters
    ----------
    precision : {"highest", "high"}
        What the products and convolutions that are recorded from now on may do.

    Raises
    ------
    ValueError
        If it is neither.

    Examples
    --------
    >>> owl.set_matmul_precision("high")
    >>> y = owl.ones([2, 3]) * owl.ones([3, 2])
    >>> owl.set_matmul_precision("highest")
    """
    global matmul_precision
    if precision not in PRECISIONS:
        raise OwlValueError(f"[set_matmul_precision] the precision is 'highest' or 'high', not {precision!r}")
    matmul_precision = PRECISIONS.index(precision)


def get_matmul_precision():
    """How exactly matrix products and convolutions that are recorded now will be computed: ``"highest"`` or ``"high"``.

    Evaluates nothing and does not block; any thread may call it.

    Examples
    --------
    >>> owl.get_matmul_precision()
    'highest'
    """
    return PRECISIONS[matmul_precision]
