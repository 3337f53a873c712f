# Convolution, pooling, local response normalization. Data is [w, h, channels, batch], filters are [kw, kh, in, out].

import enum

cdef extern from "_cpu/kernels/conv/conv_args.h" namespace "owl" nogil:
    enum class ConvAlgorithm(uint8_t):
        automatic
        direct

    int64_t pooled_size(int64_t n, int64_t window, int64_t stride, int64_t pad)

cdef bint use_winograd = setting("OWL_WINOGRAD", "1", ("0", "1")) == "1"


cdef int64_t whole_number(value, int64_t least, str name, str what) except -1:
    try:
        number = value.__index__()
    except AttributeError:
        raise DTypeError(f"[{what}] {name} is a whole number, not {value!r}") from None
    return within(number, least, name, what)


# Of parameters of convolutions: small enough that sums and products of them with a dimension cannot overflow.
cdef int64_t MOST = (1 << 24) - 1


cdef int64_t within(number, int64_t least, str name, str what) except -1:
    if not least <= number <= MOST:
        raise OwlValueError(f"[{what}] {name} cannot be {number}: it lies between {least} and {MOST}")
    return number


cdef object copy_info(info):
    make, arguments, state = info.__reduce__()
    out = make(*arguments)
    out.__setstate__(state)
    return out


cdef NArray as_array(value, str name, str what):
    if type(value) is not NArray:
        raise OwlTypeError(f"[{what}] {name} must be an owl array, not {type(value).__name__}")
    return <NArray>value


cdef NArray as_images(value, str name, str what):
    cdef NArray array = as_array(value, name, what)
    if array.node.shape.ndim != 4:
        raise ShapeError(f"[{what}] {name} has 4 dimensions, not shape {array.shape}")
    return array


# Both arrays' common dtype, to which each is converted.
cdef DType common_dtype(arrays):
    for array in arrays:
        if (<NArray>array).node.dtype == DType.f64:
            return DType.f64
    return DType.f32


cdef NArray converted(NArray array, DType dtype):
    return array if array.node.dtype == dtype else cast(array, dtype)


# ------------------------------------------------------------------------------------------------------- convolution


@cython.final
cdef class ConvInfo:
    """Padding, stride, dilation and groups of a convolution, as Minerva's static functions take them.

    Attributes
    ----------
    pad_height, pad_width : int
        Zeros around the image, 0 by default.
    stride_vertical, stride_horizontal : int
        1 by default.
    dilation_vertical, dilation_horizontal : int
        Distance between pixels that neighbouring numbers of the filter meet; 1 by default.
    groups : int
        Channels are divided into as many groups, each with filters of its own; 1 by default.
    """

    cdef public int64_t pad_height, pad_width, stride_vertical, stride_horizontal
    cdef public int64_t dilation_vertical, dilation_horizontal, groups

    def __cinit__(self):
        self.stride_vertical = self.stride_horizontal = 1
        self.dilation_vertical = self.dilation_horizontal = self.groups = 1

    def __reduce__(self):
        return ConvInfo, (), (self.pad_height, self.pad_width, self.stride_vertical, self.stride_horizontal,
                              self.dilation_vertical, self.dilation_horizontal, self.groups)

    def __setstate__(self, state):
        (self.pad_height, self.pad_width, self.stride_vertical, self.stride_horizontal,
         self.dilation_vertical, self.dilation_horizontal, self.groups) = state


cdef int check_info(ConvInfo info, str what) except -1:
    within(info.pad_height, 0, "pad_height", what)
    within(info.pad_width, 0, "pad_width", what)
    within(info.stride_vertical, 1, "stride_vertical", what)
    within(info.stride_horizontal, 1, "stride_horizontal", what)
    within(info.dilation_vertical, 1, "dilation_vertical", what)
    within(info.dilation_horizontal, 1, "dilation_horizontal", what)
    within(info.groups, 1, "groups", what)
    return 0


cdef ConvInfo as_info(info, str what):
    if type(info) is not ConvInfo:
        raise OwlTypeError(f"[{what}] the last argument is an owl.conv.ConvInfo, not {type(info).__name__}")
    return <ConvInfo>info


cdef int check_filters(const Shape& w, str what) except -1:
    cdef int d
    for d in range(2):
        if not 1 <= w.dim[d] <= MOST:
            raise ShapeError(f"[{what}] a filter has between 1 and {MOST} numbers in each dimension, not {w.dim[d]}")
    return 0


cdef int64_t convolved_size(int64_t n, int64_t kernel, int64_t pad, int64_t stride, int64_t dilation, str side,
                            str what) except -1:
    cdef int64_t reach = n + 2 * pad - ((kernel - 1) * dilation + 1)
    if reach < 0:
        raise ShapeError(f"[{what}] a kernel of {side} {(kernel - 1) * dilation + 1} does not fit into an image of {side} {n} "
                         f"padded by {pad} on both sides")
    return reach // stride + 1


# The shape of the result, if data and filters fit each other. The parameters may have been changed since they were given.
cdef int convolved_shape(ConvInfo info, const Shape& x, const Shape& w, Shape* y, str what) except -1:
    check_info(info, what)
    check_filters(w, what)
    check_size(x, what)
    check_size(w, what)
    if (w.dim[3] % info.groups or w.dim[3] == 0 or x.dim[2] % info.groups or x.dim[2] == 0
            or x.dim[2] // info.groups != w.dim[2]):
        groups = f" in {info.groups} groups" if info.groups > 1 else ""
        raise ShapeError(f"[{what}] filters of shape {shape_list(w)} ([width, height, in, out]) do not fit data of shape "
                         f"{shape_list(x)} ([width, height, channels, batch]){groups}")
    y.ndim = 4
    y.dim[0] = convolved_size(x.dim[0], w.dim[0], info.pad_width, info.stride_horizontal, info.dilation_horizontal,
                              "width", what)
    y.dim[1] = convolved_size(x.dim[1], w.dim[1], info.pad_height, info.stride_vertical, info.dilation_vertical, "height",
                              what)
    y.dim[2] = w.dim[3]
    y.dim[3] = x.dim[3]
    return check_size(dereference(y), what)


cdef void add_info(Draft* draft, ConvInfo info, int64_t precision) noexcept:
    cdef ConvAttributes attributes
    attributes.pad_w = info.pad_width
    attributes.pad_h = info.pad_height
    attributes.stride_w = info.stride_horizontal
    attributes.stride_h = info.stride_vertical
    attributes.dilation_w = info.dilation_horizontal
    attributes.dilation_h = info.dilation_vertical
    attributes.groups = info.groups
    attributes.algorithm = <int32_t>(ConvAlgorithm.automatic if use_winograd else ConvAlgorithm.direct)
    attributes.precision = <int32_t>precision
    draft.set_attributes(attributes)


cdef NArray conv_forward(x, w, b, ConvInfo info, str what):
    cdef Draft draft
    cdef NArray data = as_images(x, "the data", what)
    cdef NArray filters = as_images(w, "the filter array", what)
    cdef NArray bias
    convolved_shape(info, data.node.shape, filters.node.shape, &draft.shape, what)
    arrays = [data, filters]
    if b is not None:
        bias = as_array(b, "the bias", what)
        if bias.node.shape.ndim != 1 or bias.node.shape.dim[0] != draft.shape.dim[2]:
            raise ShapeError(f"[{what}] the bias has shape [{draft.shape.dim[2]}], a number for each filter, not {bias.shape}")
        arrays.append(bias)
    draft.op = Op.conv_forward
    draft.dtype = common_dtype(arrays)
    add_info(&draft, info, matmul_precision)
    arrays = [converted(array, draft.dtype) for array in arrays]
    for array in arrays:
        draft.add_input((<NArray>array).node)
    return commit(draft)


cdef NArray conv_backward_data(y, x, w, ConvInfo info, str what):
    cdef Draft draft
    cdef NArray diff = as_images(y, "the gradient", what)
    cdef NArray filters = as_images(w, "the filter array", what)
    cdef Shape expected
    draft.shape.ndim = 4
    if x is not None:
        draft.shape = as_images(x, "the data", what).node.shape
    elif info.stride_horizontal != 1 or info.stride_vertical != 1:
        raise ShapeError(f"[{what}] with a stride, the shape of the data cannot be told from the gradient: pass the data too")
    else:
        check_info(info, what)
        check_filters(filters.node.shape, what)
        if filters.node.shape.dim[2] > MOST_ELEMENTS // info.groups:
            raise ShapeError(f"[{what}] filters of shape {filters.shape} in {info.groups} groups have too many channels")
        draft.shape.dim[0] = diff.node.shape.dim[0] + (filters.node.shape.dim[0] - 1) * info.dilation_horizontal - 2 * info.pad_width
        draft.shape.dim[1] = diff.node.shape.dim[1] + (filters.node.shape.dim[1] - 1) * info.dilation_vertical - 2 * info.pad_height
        draft.shape.dim[2] = filters.node.shape.dim[2] * info.groups
        draft.shape.dim[3] = diff.node.shape.dim[3]
    convolved_shape(info, draft.shape, filters.node.shape, &expected, what)
    check_gradient(diff, expected, what)
    draft.op = Op.conv_backward_data
    draft.dtype = common_dtype((diff, filters))
    add_info(&draft, info, matmul_precision)
    diff = converted(diff, draft.dtype)
    filters = converted(filters, draft.dtype)
    draft.add_input(diff.node)
    draft.add_input(filters.node)
    return commit(draft)


cdef NArray conv_backward_filter(y, x, w, ConvInfo info, str what):
    cdef Draft draft
    cdef NArray diff = as_images(y, "the gradient", what)
    cdef NArray data = as_images(x, "the data", what)
    cdef Shape expected
    draft.shape.ndim = 4
    if w is not None:
        draft.shape = as_images(w, "the filter array", what).node.shape
    elif (info.stride_horizontal, info.stride_vertical, info.dilation_horizontal, info.dilation_vertical) != (1, 1, 1, 1):
        raise ShapeError(f"[{what}] with a stride or a dilation, the shape of the filters cannot be told from the gradient: "
                         "pass the filters too")
    else:
        check_info(info, what)
        draft.shape.dim[0] = data.node.shape.dim[0] + 2 * info.pad_width - diff.node.shape.dim[0] + 1
        draft.shape.dim[1] = data.node.shape.dim[1] + 2 * info.pad_height - diff.node.shape.dim[1] + 1
        draft.shape.dim[2] = data.node.shape.dim[2] // info.groups
        draft.shape.dim[3] = diff.node.shape.dim[2]
    convolved_shape(info, data.node.shape, draft.shape, &expected, what)
    check_gradient(diff, expected, what)
    draft.op = Op.conv_backward_filter
    draft.dtype = common_dtype((diff, data))
    add_info(&draft, info, HIGHEST)
    diff = converted(diff, draft.dtype)
    data = converted(data, draft.dtype)
    draft.add_input(diff.node)
    draft.add_input(data.node)
    return commit(draft)


cdef int check_gradient(NArray diff, const Shape& expected, str what) except -1:
    if diff.node.shape != expected:
        raise ShapeError(f"[{what}] the gradient has shape {diff.shape}, the result it belongs to {shape_list(expected)}")
    return 0


cdef NArray conv_backward_bias(y, str what):
    cdef Draft draft
    cdef NArray diff = as_images(y, "the gradient", what)
    draft.op = Op.conv_backward_bias
    draft.dtype = diff.node.dtype
    draft.shape.ndim = 1
    draft.shape.dim[0] = diff.node.shape.dim[2]
    draft.add_input(diff.node)
    return commit(draft)


@cython.final
cdef class Convolver:
    """A convolution: flips the filter, as mathematicians do (most libraries correlate).

    Parameters
    ----------
    pad_h, pad_w : int
        Zeros above and below, and to both sides, of each image.
    stride_v, stride_h : int
        How far the filter moves, vertically and horizontally.
    dilation_v, dilation_h : int
        Distance between the pixels that neighbouring numbers of the filter meet.
    groups : int
        Channels in and out are divided into so many groups, which do not mix.

    Notes
    -----
    Data is ``[width, height, channels, batch]``, filters are ``[width, height, channels / groups, filters]``, the bias is
    ``[filters]``. The result is ``floor((n + 2 * pad - kernel) / stride) + 1`` wide and high. All methods record and return
    at once, on any thread. Filters of 3x3 and 5x5 at stride 1 are computed by Winograd's algorithm where that is faster; its
    error is below 256 machine epsilons of the largest sum of absolute products (``OWL_WINOGRAD=0`` turns it off).

    Examples
    --------
    >>> c = owl.conv.Convolver(pad_h=1, pad_w=1, stride_v=1, stride_h=1)
    >>> x, w, b = owl.ones([8, 8, 3, 2]), owl.ones([3, 3, 3, 5]), owl.zeros([5])
    >>> c.ff(x, w, b).shape
    [8, 8, 5, 2]
    """

    cdef readonly ConvInfo param

    def __cinit__(self, *_, **__):
        self.param = ConvInfo.__new__(ConvInfo)

    def __init__(self, pad_h=0, pad_w=0, stride_v=1, stride_h=1, *, dilation_v=1, dilation_h=1, groups=1):
        cdef ConvInfo info = ConvInfo.__new__(ConvInfo)
        info.pad_height = whole_number(pad_h, 0, "pad_h", "Convolver")
        info.pad_width = whole_number(pad_w, 0, "pad_w", "Convolver")
        info.stride_vertical = whole_number(stride_v, 1, "stride_v", "Convolver")
        info.stride_horizontal = whole_number(stride_h, 1, "stride_h", "Convolver")
        info.dilation_vertical = whole_number(dilation_v, 1, "dilation_v", "Convolver")
        info.dilation_horizontal = whole_number(dilation_h, 1, "dilation_h", "Convolver")
        info.groups = whole_number(groups, 1, "groups", "Convolver")
        self.param = info

    def __reduce__(self):
        return Convolver, (), self.param

    def __setstate__(self, ConvInfo state not None):
        self.param = copy_info(state)

    def ff(self, x, w, b=None):
        """The convolution of `x` with the filters `w`, plus the bias `b` where one is given.

        Raises
        ------
        owl.ShapeError
            If the shapes do not fit each other, or a filter is larger than a padded image.
        """
        return conv_forward(x, w, b, self.param, "Convolver.ff")

    def bp(self, y, x, w=None):
        """The gradient of the data, from the gradient `y` of the result.

        Parameters
        ----------
        y : NArray
        x : NArray
            The data that was convolved, for its shape. With a stride of 1 it may be left out: ``bp(y, w)``.
        w : NArray
            The filters.
        """
        if w is None:
            return conv_backward_data(y, None, x, self.param, "Convolver.bp")
        return conv_backward_data(y, x, w, self.param, "Convolver.bp")

    def weight_grad(self, y, x, w=None):
        """The gradient of the filters, from the gradient `y` of the result.

        Parameters
        ----------
        y, x : NArray
            The gradient, and the data that was convolved.
        w : NArray
            The filters, for their shape. With a stride and a dilation of 1 they may be left out.
        """
        return conv_backward_filter(y, x, w, self.param, "Convolver.weight_grad")

    def bias_grad(self, y):
        """The gradient of the bias, from the gradient `y` of the result: its sum for each filter."""
        return conv_backward_bias(y, "Convolver.bias_grad")


# ----------------------------------------------------------------------------------------------------------- pooling


@cython.final
cdef class PoolingInfo:
    """Window, stride, padding and kind of a pooling, as Minerva's static functions take them.

    Attributes
    ----------
    height, width : int
        Of the window.
    stride_vertical, stride_horizontal : int
        1 by default.
    pad_height, pad_width : int
        0 by default.
    algorithm : owl.conv.pool_op
        `max` by default.
    """

    cdef public int64_t height, width, stride_vertical, stride_horizontal, pad_height, pad_width
    cdef public int64_t algorithm

    def __cinit__(self):
        self.height = self.width = self.stride_vertical = self.stride_horizontal = self.algorithm = 1

    def __reduce__(self):
        return PoolingInfo, (), (self.height, self.width, self.stride_vertical, self.stride_horizontal,
                                 self.pad_height, self.pad_width, self.algorithm)

    def __setstate__(self, state):
        (self.height, self.width, self.stride_vertical, self.stride_horizontal,
         self.pad_height, self.pad_width, self.algorithm) = state


cdef int check_pooling(PoolingInfo info, str what) except -1:
    within(info.height, 1, "height", what)
    within(info.width, 1, "width", what)
    within(info.stride_vertical, 1, "stride_vertical", what)
    within(info.stride_horizontal, 1, "stride_horizontal", what)
    if not 0 <= info.pad_height < info.height or not 0 <= info.pad_width < info.width:
        raise OwlValueError(f"[{what}] the padding of a pooling is smaller than its window of {info.width}x{info.height}, "
                            f"not {info.pad_width}x{info.pad_height}")
    if info.algorithm not in (1, 2):
        raise OwlValueError(f"[{what}] the kind of pooling is pool_op.max or pool_op.avg, not {info.algorithm}")
    return 0


cdef PoolingInfo as_pooling(info, str what):
    if type(info) is not PoolingInfo:
        raise OwlTypeError(f"[{what}] the last argument is an owl.conv.PoolingInfo, not {type(info).__name__}")
    return <PoolingInfo>info


cdef int pooled_shape(PoolingInfo info, const Shape& x, Shape* y, str what) except -1:
    check_pooling(info, what)
    if info.width > x.dim[0] + 2 * info.pad_width or info.height > x.dim[1] + 2 * info.pad_height:
        raise ShapeError(f"[{what}] a window of {info.width}x{info.height} does not fit into images of "
                         f"{x.dim[0]}x{x.dim[1]} padded by {info.pad_width}x{info.pad_height}")
    y.ndim = 4
    y.dim[0] = pooled_size(x.dim[0], info.width, info.stride_horizontal, info.pad_width)
    y.dim[1] = pooled_size(x.dim[1], info.height, info.stride_vertical, info.pad_height)
    y.dim[2] = x.dim[2]
    y.dim[3] = x.dim[3]
    return check_size(dereference(y), what)


cdef void add_pooling(Draft* draft, PoolingInfo info) noexcept:
    cdef PoolAttributes attributes
    attributes.op = info.algorithm
    attributes.w = info.width
    attributes.h = info.height
    attributes.stride_w = info.stride_horizontal
    attributes.stride_h = info.stride_vertical
    attributes.pad_w = info.pad_width
    attributes.pad_h = info.pad_height
    draft.set_attributes(attributes)


cdef NArray pooling_forward(x, PoolingInfo info, str what):
    cdef Draft draft
    cdef NArray data = as_images(x, "the data", what)
    pooled_shape(info, data.node.shape, &draft.shape, what)
    draft.op = Op.pool_forward
    draft.dtype = data.node.dtype
    add_pooling(&draft, info)
    draft.add_input(data.node)
    return commit(draft)


cdef NArray pooling_backward(y, ff_y, ff_x, PoolingInfo info, str what):
    cdef Draft draft
    cdef NArray diff = as_images(y, "the gradient", what)
    cdef NArray top = as_images(ff_y, "the pooled data", what)
    cdef NArray bottom = as_images(ff_x, "the data", what)
    cdef Shape expected
    pooled_shape(info, bottom.node.shape, &expected, what)
    check_gradient(diff, expected, what)
    check_gradient(top, expected, what)
    draft.op = Op.pool_backward
    draft.dtype = common_dtype((diff, top, bottom))
    draft.shape = bottom.node.shape
    add_pooling(&draft, info)
    diff = converted(diff, draft.dtype)
    top = converted(top, draft.dtype)
    bottom = converted(bottom, draft.dtype)
    draft.add_input(diff.node)
    draft.add_input(top.node)
    draft.add_input(bottom.node)
    return commit(draft)


@cython.final
cdef class Pooler:
    """The greatest or the mean number of each window.

    Parameters
    ----------
    h, w : int
        Height and width of the window.
    stride_v, stride_h : int
        How far it moves, vertically and horizontally.
    pad_h, pad_w : int
        Border above and below, and to both sides; smaller than the window. `max` ignores it, `avg` counts it as zeros.
    op : owl.conv.pool_op
        `max` (the default) or `avg`. Older scripts give it as the fifth argument.

    Notes
    -----
    Data is ``[width, height, channels, batch]``. As in Caffe, the result is ``ceil((n + 2 * pad - window) / stride) + 1`` wide
    and high, less one where the last window would start beyond ``n + pad``; windows are clipped at the border. Of equal
    numbers the first one is the greatest, and a NaN is greater than any number. All methods record and return at once.

    Examples
    --------
    >>> p = owl.conv.Pooler(2, 2, 2, 2, op=owl.conv.pool_op.max)
    >>> p.ff(owl.ones([7, 7, 3, 2])).shape
    [4, 4, 3, 2]
    """

    cdef readonly PoolingInfo param

    def __cinit__(self, *_, **__):
        self.param = PoolingInfo.__new__(PoolingInfo)

    def __init__(self, h, w, stride_v=1, stride_h=1, pad_h=0, pad_w=0, op=1):
        cdef PoolingInfo info = PoolingInfo.__new__(PoolingInfo)
        if isinstance(pad_h, enum.Enum):
            pad_h, op = 0, pad_h
        info.height = whole_number(h, 1, "h", "Pooler")
        info.width = whole_number(w, 1, "w", "Pooler")
        info.stride_vertical = whole_number(stride_v, 1, "stride_v", "Pooler")
        info.stride_horizontal = whole_number(stride_h, 1, "stride_h", "Pooler")
        info.pad_height = whole_number(pad_h, 0, "pad_h", "Pooler")
        info.pad_width = whole_number(pad_w, 0, "pad_w", "Pooler")
        info.algorithm = whole_number(op, 0, "op", "Pooler")
        check_pooling(info, "Pooler")
        self.param = info

    def __reduce__(self):
        return Pooler, (1, 1), self.param

    def __setstate__(self, PoolingInfo state not None):
        self.param = copy_info(state)

    def ff(self, x):
        """The pooled data.

        Raises
        ------
        owl.ShapeError
            If the window is larger than a padded image.
        """
        return pooling_forward(x, self.param, "Pooler.ff")

    def bp(self, y, ff_y, ff_x):
        """The gradient of the data, from the gradient `y` of the result, the result `ff_y` and the data `ff_x`."""
        return pooling_backward(y, ff_y, ff_x, self.param, "Pooler.bp")


# ---------------------------------------------------------------------------------------- local response normalization


cdef int add_normalization(Draft* draft, local_size, alpha, beta, str what) except -1:
    cdef LrnAttributes attributes
    attributes.local_size = whole_number(local_size, 1, "local_size", what)
    attributes.alpha = alpha
    attributes.beta = beta
    if attributes.local_size % 2 == 0:
        raise OwlValueError(f"[{what}] local_size is odd, not {attributes.local_size}")
    draft.set_attributes(attributes)
    return 0


cdef NArray lrn_forward(x, scale, local_size, alpha, beta, str what):
    cdef Draft draft
    cdef NArray data = as_images(x, "the data", what)
    cdef NArray kept = None if scale is None else as_array(scale, "scale", what)
    draft.dtype = data.node.dtype
    draft.shape = data.node.shape
    add_normalization(&draft, local_size, alpha, beta, what)
    draft.add_input(data.node)
    if kept is not None:
        if kept.node.shape != data.node.shape:
            raise ShapeError(f"[{what}] scale has shape {kept.shape}, the data {data.shape}")
        draft.op = Op.lrn_scale
        repoint(kept, converted(commit(draft), kept.node.dtype), what)
    draft.op = Op.lrn_forward
    return commit(draft)


cdef NArray lrn_backward(bottom_data, top_data, scale, top_diff, local_size, alpha, beta, str what):
    cdef Draft draft
    cdef NArray bottom = as_images(bottom_data, "the data", what)
    arrays = [bottom, as_array(top_data, "the result", what), as_array(scale, "scale", what),
              as_array(top_diff, "the gradient", what)]
    for array in arrays:
        if (<NArray>array).node.shape != bottom.node.shape:
            raise ShapeError(f"[{what}] data, result, scale and gradient have one shape, not {bottom.shape} and {array.shape}")
    draft.op = Op.lrn_backward
    draft.dtype = common_dtype(arrays)
    draft.shape = bottom.node.shape
    add_normalization(&draft, local_size, alpha, beta, what)
    arrays = [converted(array, draft.dtype) for array in arrays]
    for array in arrays:
        draft.add_input((<NArray>array).node)
    return commit(draft)


@cython.final
cdef class Lrner:
    """Local response normalization across channels: each number is divided by a power of its neighbours' mean square.

    ``scale = 1 + alpha / local_size * sum(x ** 2)`` over the `local_size` channels around, and ``y = x * scale ** -beta``.

    Parameters
    ----------
    local_size : int
        How many channels are neighbours; odd.
    alpha, beta : float

    Examples
    --------
    >>> n = owl.conv.Lrner(5, 1e-4, 0.75)
    >>> x = owl.ones([4, 4, 8, 2])
    >>> scale = owl.zeros(x.shape)
    >>> n.ff(x, scale).shape
    [4, 4, 8, 2]
    """

    cdef readonly int64_t local_size
    cdef readonly double alpha, beta

    def __init__(self, local_size, alpha, beta):
        self.local_size = whole_number(local_size, 1, "local_size", "Lrner")
        if self.local_size % 2 == 0:
            raise OwlValueError(f"[Lrner] local_size is odd, not {local_size}")
        self.alpha = alpha
        self.beta = beta

    def __reduce__(self):
        return Lrner, (self.local_size, self.alpha, self.beta)

    def ff(self, x, scale=None):
        """The normalized data. `scale`, an array of the same shape, is pointed at what `bp` needs. Records only."""
        return lrn_forward(x, scale, self.local_size, self.alpha, self.beta, "Lrner.ff")

    def bp(self, bottom_data, top_data, scale, top_diff):
        """The gradient of the data, from what `ff` took and gave, and the gradient of its result. Records only."""
        return lrn_backward(bottom_data, top_data, scale, top_diff, self.local_size, self.alpha, self.beta, "Lrner.bp")


# ----------------------------------------------------------------------------------------------------------- softmax


cdef object softmax_backward(diff, top, mode):
    # Of the numbers that softmax got: top * (diff - the mean of diff, weighted by top).
    cdef NArray upper = as_array(top, "the result", "softmax_backward")
    cdef NArray gradient = as_array(diff, "the gradient", "softmax_backward")
    cdef int ndim = upper.node.shape.ndim
    if gradient.node.shape != upper.node.shape:
        raise ShapeError(f"[softmax_backward] the gradient has shape {gradient.shape}, the result {upper.shape}")
    if ndim < 2:
        raise ShapeError(f"[softmax_backward] at least 2 dimensions are wanted, not shape {upper.shape}")
    if mode not in (0, 1):
        raise OwlValueError(f"[softmax_backward] the mode is soft_op.instance or soft_op.channel, not {mode!r}")
    cdef object weighted = arithmetic(Elementwise.mul, gradient, upper, "softmax_backward")
    axes = [ndim - 2] if mode == 1 else list(range(ndim - 1))
    mean = reduction(<NArray>weighted, Reduction.sum, axes, False, "softmax_backward")
    return arithmetic(Elementwise.mul, upper, arithmetic(Elementwise.sub, gradient, mean, "softmax_backward"), "softmax_backward")


def set_winograd(bint value):
    """Switches Winograd's algorithm on or off for what is recorded from now on, as OWL_WINOGRAD does; returns what it was."""
    global use_winograd
    was = use_winograd
    use_winograd = value
    return was
