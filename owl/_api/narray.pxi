# NArray: a handle on a value, past or future. Arrays are values: there are no views, and an in-place operator points the
# handle at a new value.

cdef tuple STATES = ("recorded", "submitted", "done", "failed", "dead")


@cython.final
@cython.freelist(256)
cdef class NArray:
    """An n-dimensional array whose value is computed when it is needed.

    Made by `owl.zeros`, `owl.from_numpy` and the other functions of `owl`; not by calling this class. Dimensions are
    column-major: `shape[0]` varies fastest in memory, so ``owl.from_numpy(a).shape == list(reversed(a.shape))``.

    Operators take arrays and numbers on both sides. `*` of two arrays is the matrix product, as `@` is (`owl.elewise.mult` is
    element by element); all else is element by element and repeats dimensions of 1. Operators record and return at once, on any
    thread; `to_numpy`, `count_zero`, `float`, `int`, `bool` and `wait_for_eval` compute and block.

    ``x -= y`` reads `x`, records, and points `x` at the result: done to one `x` by several threads at once, one update may
    be lost, as it is for a Python number. Tasks of one loop do not disturb each other. No lock is taken while recording.

    Examples
    --------
    >>> x = owl.from_numpy(np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    >>> x.shape
    [3, 2]
    >>> (x * 2 + 1).to_numpy()
    array([[ 3.,  5.,  7.],
           [ 9., 11., 13.]], dtype=float32)
    """

    __array_ufunc__ = None  # NumPy arrays on the left leave the operation to us

    def __dealloc__(self):
        if self.node is not NULL:
            graph().mutex.lock()
            graph().drop_handle(self.node)
            graph().mutex.unlock()

    # ---------------------------------------------------------------------------------------------------- attributes

    @property
    def shape(self):
        """Dimensions as a list, the fastest-varying first. Does not evaluate."""
        return shape_list(self.node.shape)

    @property
    def ndim(self):
        """Number of dimensions. Does not evaluate."""
        return self.node.shape.ndim

    @property
    def size(self):
        """Number of elements. Does not evaluate."""
        return self.node.shape.size()

    @property
    def dtype(self):
        """The NumPy dtype, float32 or float64. Does not evaluate."""
        return dtype_object(self.node.dtype)

    @property
    def nbytes(self):
        """Bytes of the elements. Does not evaluate."""
        return self.node.bytes()

    @property
    def device(self):
        """The device that computes and holds the value. Does not evaluate."""
        return Device(self.node.device)

    @property
    def state(self):
        """``'recorded'``, ``'submitted'``, ``'done'`` or ``'failed'``. Does not evaluate."""
        graph().mutex.lock()
        cdef State state = self.node.state
        graph().mutex.unlock()
        return STATES[<int>state]

    def __repr__(self):
        return (f"NArray(shape={self.shape}, dtype={self.dtype}, device={device_names[self.node.device]}, "
                f"state={self.state})")

    def __len__(self):
        if self.node.shape.ndim == 0:
            raise OwlTypeError("[len] an array of no dimensions has no length")
        return self.node.shape.dim[0]

    def __hash__(self):
        return <Py_hash_t>(<uintptr_t><void*>self >> 4)

    # ----------------------------------------------------------------------------------------------------- operators

    def __add__(self, other):
        return arithmetic(Elementwise.add, self, other, "+")

    def __radd__(self, other):
        return arithmetic(Elementwise.add, other, self, "+")

    def __sub__(self, other):
        return arithmetic(Elementwise.sub, self, other, "-")

    def __rsub__(self, other):
        return arithmetic(Elementwise.sub, other, self, "-")

    def __truediv__(self, other):
        return arithmetic(Elementwise.div, self, other, "/")

    def __rtruediv__(self, other):
        return arithmetic(Elementwise.div, other, self, "/")

    def __mul__(self, other):
        return product(self, other)

    def __rmul__(self, other):
        return product(other, self)

    def __matmul__(self, other):
        return matmul(self, other)

    def __rmatmul__(self, other):
        return matmul(other, self)

    def __iadd__(self, other):
        return in_place(self, Elementwise.add, other, "+=")

    def __isub__(self, other):
        return in_place(self, Elementwise.sub, other, "-=")

    def __itruediv__(self, other):
        return in_place(self, Elementwise.div, other, "/=")

    def __imul__(self, other):
        if is_number(other):
            return in_place(self, Elementwise.mul, other, "*=")
        result = product(self, other)
        if result is NotImplemented:
            return result
        return repoint(self, converted(<NArray>result, self.node.dtype), "*=")

    def __imatmul__(self, other):
        result = matmul(self, other)
        if result is NotImplemented:
            return result
        return repoint(self, converted(<NArray>result, self.node.dtype), "@=")

    def __neg__(self):
        return unary(Elementwise.neg, self)

    def __pos__(self):
        return self

    def __abs__(self):
        return unary(Elementwise.abs, self)

    def __pow__(self, other, modulus):
        if modulus is not None:
            raise OwlTypeError("[pow] three arguments are not supported")
        return arithmetic(Elementwise.pow, self, other, "**")

    def __rpow__(self, other, modulus):
        return arithmetic(Elementwise.pow, other, self, "**")

    def __lt__(self, other):
        return arithmetic(Elementwise.lt, self, other, "<")

    def __le__(self, other):
        return arithmetic(Elementwise.le, self, other, "<=")

    def __gt__(self, other):
        return arithmetic(Elementwise.gt, self, other, ">")

    def __ge__(self, other):
        return arithmetic(Elementwise.ge, self, other, ">=")

    def __eq__(self, other):
        return arithmetic(Elementwise.eq, self, other, "==")

    def __ne__(self, other):
        return arithmetic(Elementwise.ne, self, other, "!=")

    # ---------------------------------------------------------------------------------------------------- reductions

    def sum(self, axis=None):
        """Sum over dimensions, which remain as dimensions of 1.

        Parameters
        ----------
        axis : int or list of int, optional
            Dimensions to add up; all by default.

        Examples
        --------
        >>> owl.ones([2, 3]).sum(1).to_numpy()
        array([[3., 3.]], dtype=float32)
        """
        return reduction(self, Reduction.sum, axis, False, "sum")

    def mean(self, axis=None):
        """Mean over dimensions, which remain as dimensions of 1. See `sum`."""
        return reduction(self, Reduction.sum, axis, True, "mean")

    def max(self, axis=None):
        """Largest element over dimensions, which remain as dimensions of 1; NaN if there is one. See `sum`.

        Raises
        ------
        ValueError
            If there is no element to choose from.
        """
        return reduction(self, Reduction.max, axis, False, "max")

    def min(self, axis=None):
        """Smallest element over dimensions, which remain as dimensions of 1; NaN if there is one. See `max`."""
        return reduction(self, Reduction.min, axis, False, "min")

    def argmax(self, axis):
        """Position of the largest element along a dimension, which remains as a dimension of 1.

        The positions are whole numbers of the array's dtype; of equal elements the first counts, and NaN is largest.

        Examples
        --------
        >>> owl.from_numpy(np.array([[0, 2, 1], [5, 4, 3]], np.float32)).argmax(0).to_numpy()
        array([[1.],
               [0.]], dtype=float32)
        """
        return reduction(self, Reduction.argmax, axis, False, "argmax")

    def max_index(self, axis):
        """The same as `argmax`."""
        return reduction(self, Reduction.argmax, axis, False, "max_index")

    def argmin(self, axis):
        """Position of the smallest element along a dimension, which remains as a dimension of 1.

        As for `argmax`: of equal elements the first counts, and NaN is smallest.

        Examples
        --------
        >>> owl.from_numpy(np.array([[0, 2, 1], [5, 4, 3]], np.float32)).argmin(0).to_numpy()
        array([[0.],
               [2.]], dtype=float32)
        """
        return reduction(self, Reduction.argmin, axis, False, "argmin")

    def var(self, axis=None):
        """Variance over dimensions, which remain as dimensions of 1: the mean square of differences from the mean.

        That is the variance of a whole population, divided by the number of elements. It is computed in two passes, the mean
        first, so that a large mean takes no digits from it. See `sum`.

        Examples
        --------
        >>> owl.from_numpy(np.array([1001.0, 1003.0])).var().to_numpy()
        array([1.], dtype=float32)
        """
        return variance(self, axis, "var")

    def std(self, axis=None):
        """Standard deviation over dimensions, which remain as dimensions of 1: the root of `var`.

        Where it is 0 it has no derivative, and its gradient is NaN.
        """
        return unary(Elementwise.sqrt, variance(self, axis, "std"))

    def logsumexp(self, axis=None):
        """Logarithm of the sum of exponentials over dimensions, which remain as dimensions of 1. See `sum`.

        The largest element is taken out of the exponentials first, so that they neither overflow nor all vanish.

        Raises
        ------
        ValueError
            If a dimension is empty.

        Examples
        --------
        >>> owl.from_numpy(np.array([1000.0, 1000.0])).logsumexp().to_numpy()
        array([1000.6932], dtype=float32)
        """
        return logsumexp(self, axis)

    def cumsum(self, axis):
        """Running sum along a dimension: each element is the sum of those up to it.

        Pieces of 256 elements are added up by themselves, and the sum of the pieces before is added to each element: the
        error grows with the number of pieces, and the bits are the same on any number of threads.

        Examples
        --------
        >>> owl.from_numpy(np.array([1, 2, 3])).cumsum(0).to_numpy()
        array([1., 3., 6.], dtype=float32)
        """
        return running_sum(self, axis)

    def count_zero(self):
        """Number of elements that are 0, as an int. Evaluates and blocks."""
        return count_zeros(self)

    # ----------------------------------------------------------------------------------------------------- structure

    def trans(self, axes=None):
        """The transpose: dimensions reversed, or in the given order.

        Examples
        --------
        >>> owl.zeros([2, 3]).trans().shape
        [3, 2]
        """
        return transpose(self, axes)

    @property
    def T(self):
        """The transpose of a matrix. Records it anew each time.

        Raises
        ------
        owl.ShapeError
            Unless the array has 2 dimensions: `trans` takes any number of them.

        Examples
        --------
        >>> owl.zeros([2, 3]).T.shape
        [3, 2]
        """
        if self.node.shape.ndim != 2:
            raise ShapeError(f"[T] takes a matrix, not shape {self.shape}; trans takes any number of dimensions")
        return transpose(self, None)

    def reshape(self, shape):
        """The same elements in the same column-major order with other dimensions. One of them may be -1.

        Raises
        ------
        ValueError
            If the number of elements differs.
        """
        return reshape(self, shape)

    def squeeze(self, dim=None):
        """The same elements without dimensions of 1.

        Parameters
        ----------
        dim : int or list of int, optional
            Those to leave out, which must be 1; all of them by default.

        Examples
        --------
        >>> owl.zeros([2, 3]).sum(0).squeeze().shape
        [3]
        """
        return squeeze(self, dim)

    def copy(self):
        """An array of the same value: what happens to one handle does not touch the other."""
        return unary(Elementwise.copy, self)

    def astype(self, dtype):
        """The elements converted to float32 or float64."""
        return cast(self, parse_dtype(dtype, "astype"))

    def to(self, device):
        """The value on another device."""
        return to_device(self, check_device(device, "to"))

    def __getitem__(self, key):
        return get_item(self, key)

    def __setitem__(self, key, value):
        raise OwlTypeError("[NArray] arrays are values and cannot be written into; use owl.elewise.where or owl.concat")

    def __iter__(self):
        if self.node.shape.ndim == 0:
            raise OwlTypeError("[iter] an array of no dimensions cannot be iterated over")
        cdef Rows rows = Rows.__new__(Rows)
        rows.array = same_value(self)  # whatever `self` is pointed at meanwhile
        return rows

    # ---------------------------------------------------------------------------------------------------- evaluation

    def eval(self):
        """Starts to compute the value at once; awaiting what it returns gives this array when the value exists.

        What it returns may be awaited any number of times, in several tasks and event loops, or be ignored. The value meant
        is that of now, whatever `self` is pointed at later. In a coroutine it never blocks; elsewhere it blocks while the
        device is too far behind, as `start_eval` does. Any thread may call it.

        Raises
        ------
        owl.ExecutionError
            When awaited, if the value could not be computed, with the lines that recorded the operations which failed.

        Examples
        --------
        >>> import asyncio
        >>> async def main():
        ...     x = owl.ones([2, 2]) + 1
        ...     evaluation = x.eval()
        ...     assert await evaluation is x
        ...     return x.state
        >>> asyncio.run(main())
        'done'
        """
        return begin_evaluation(self, [self])

    def __await__(self):
        return begin_evaluation(self, [self]).__await__()

    def to_numpy(self):
        """The value as a new NumPy array with the dimensions reversed. Evaluates and blocks, without the GIL.

        Raises
        ------
        owl.ExecutionError
            If the value could not be computed, with the lines that recorded the operations which failed.
        """
        return to_numpy(self)

    def start_eval(self):
        """Starts to compute the value and returns at once, unless the device is too far behind."""
        start(self)
        wait_for_room()

    def wait_for_eval(self):
        """Computes the value and blocks until it exists, without the GIL; raises as `to_numpy` does."""
        evaluate(self).release()

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise OwlValueError("[NArray] a NumPy array of an owl array is always a copy")
        value = to_numpy(self)
        return value if dtype is None else value.astype(dtype)

    def __dlpack_device__(self):
        """DLPack's kind and number of the value's device: ``(1, 0)`` for a CPU's, ``(2, i)`` for that of ``gpu:i``."""
        return dlpack_device_of(self)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """The value as a DLPack capsule, for `numpy.from_dlpack`, `torch.from_dlpack` and their like.

        Of a CPU device's value it is the value's own memory, read-only and never written again while the capsule or what
        was made of it lives; a later in-place update of the array goes elsewhere. It is a copy if `copy` is True, if
        `max_version` is below 1.0, so that the other side cannot be told that the memory is read-only, and if `dl_device` asks
        for a GPU's value on the host. Of a GPU's value it is memory of the device, which must not be written to either, for
        a consumer of any version; the value is there before this returns, so `stream` has nothing to wait for. Evaluates and
        blocks, without the GIL; raises BufferError for what cannot be had, and as `to_numpy` does.

        Examples
        --------
        >>> x = owl.ones([3, 2])
        >>> view = np.from_dlpack(x)
        >>> x += 1
        >>> view
        array([[1., 1., 1.],
               [1., 1., 1.]], dtype=float32)
        """
        return dlpack_of(self, stream, max_version, dl_device, copy)

    @property
    def __cuda_array_interface__(self):
        """Version 3 of the CUDA array interface, of a GPU's value: for `cupy.asarray`, `torch.as_tensor`, Numba.

        The memory must not be written to, which the interface could say but PyTorch refuses. owl does not write there, nor
        use it for other values, while this array (not its value alone) is there. Evaluates and blocks, without the GIL, so
        consumers need not wait: ``stream`` is None. AttributeError for a value of another device.
        """
        return cuda_array_interface_of(self)

    def __reduce__(self):
        return from_numpy, (to_numpy(self), dtype_object(self.node.dtype))

    # ------------------------------------------------------------------------------------- Minerva's static functions

    @staticmethod
    def conv_forward(src, filter, bias, info):
        """As `owl.conv.Convolver.ff`; `info` is an `owl.conv.ConvInfo`."""
        return conv_forward(src, filter, bias, as_info(info, "conv_forward"), "conv_forward")

    @staticmethod
    def conv_backward_data(diff, bottom, filter, info):
        """As `owl.conv.Convolver.bp`."""
        return conv_backward_data(diff, bottom, filter, as_info(info, "conv_backward_data"), "conv_backward_data")

    @staticmethod
    def conv_backward_filter(diff, bottom, filter, info):
        """As `owl.conv.Convolver.weight_grad`."""
        return conv_backward_filter(diff, bottom, filter, as_info(info, "conv_backward_filter"), "conv_backward_filter")

    @staticmethod
    def conv_backward_bias(diff):
        """As `owl.conv.Convolver.bias_grad`."""
        return conv_backward_bias(diff, "conv_backward_bias")

    @staticmethod
    def pooling_forward(src, info):
        """As `owl.conv.Pooler.ff`; `info` is an `owl.conv.PoolingInfo`."""
        return pooling_forward(src, as_pooling(info, "pooling_forward"), "pooling_forward")

    @staticmethod
    def pooling_backward(diff, top, bottom, info):
        """As `owl.conv.Pooler.bp`."""
        return pooling_backward(diff, top, bottom, as_pooling(info, "pooling_backward"), "pooling_backward")

    @staticmethod
    def softmax_forward(src, algo=0):
        """As `owl.conv.softmax`."""
        return softmax(src, algo)

    @staticmethod
    def softmax_backward(diff, top, algo=0):
        """The gradient of what softmax got, from the gradient `diff` of its result `top`."""
        return softmax_backward(diff, top, algo)

    @staticmethod
    def lrn_forward(src, scale, local_size, a, b):
        """As `owl.conv.Lrner.ff`."""
        return lrn_forward(src, scale, local_size, a, b, "lrn_forward")

    @staticmethod
    def lrn_backward(bottom_data, top_data, scale, top_diff, local_size, a, b):
        """As `owl.conv.Lrner.bp`."""
        return lrn_backward(bottom_data, top_data, scale, top_diff, local_size, a, b, "lrn_backward")

    def __bool__(self):
        if self.node.shape.size() != 1:
            raise OwlValueError(f"[bool] the truth of an array of {self.node.shape.size()} elements is ambiguous")
        return bool(to_numpy(self).reshape(-1)[0])

    def __float__(self):
        return float(single_element(self, "float"))

    def __int__(self):
        return int(single_element(self, "int"))


@cython.final
cdef class Rows:
    # What iterating over an array gives: one row after the other, each recorded when its turn comes.
    cdef NArray array
    cdef int64_t next

    def __iter__(self):
        return self

    def __next__(self):
        if self.next >= self.array.node.shape.dim[0]:
            raise StopIteration
        row = get_item(self.array, self.next)
        self.next += 1
        return row

    def __length_hint__(self):
        return self.array.node.shape.dim[0] - self.next


cdef object single_element(NArray array, str what):
    if array.node.shape.size() != 1:
        raise OwlTypeError(f"[{what}] only arrays of one element convert to a number, not shape {array.shape}")
    return to_numpy(array).reshape(-1)[0]


# Points a handle at another value of the same shape.
cdef NArray repoint(NArray self, NArray result, str what):
    if result.node.shape != self.node.shape:
        raise ShapeError(f"[{what}] the result has shape {result.shape}, the array {self.shape}")
    cdef Node* old = self.node
    graph().mutex.lock()
    graph().add_handle(result.node)
    self.node = result.node
    graph().drop_handle(old)
    graph().mutex.unlock()
    return self
