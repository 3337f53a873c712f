# Derivatives: those of element-wise operations are texts in operations.def, compiled when first read; those of the others stand
# here, by operation, in the order of structured.def. Each gives the cotangent of one operand from that of the result.
#
# What is 1 everywhere is not multiplied, and a derivative that is a copy is not recorded: a cotangent may be a number, and may
# have dimensions of 1 that the operation repeats.

cdef list elementwise_derivatives = [None for _ in range(<int>Elementwise.count_)]  # of each: for each operand (function, what it reads)


# Stands for the derivative "g".
cdef object copied = object()


cdef tuple derivative_of(int op, int operand):
    if elementwise_derivatives[op] is None:
        from owl._gradients.texts import compiled
        info = elementwise_info(op)
        elementwise_derivatives[op] = [
            (copied, 0) if text == "g" else compiled(text, info.name.decode()) for text in info.derivatives.decode().split(";")
        ]
    return <tuple>(<list>elementwise_derivatives[op])[operand]


# The place of an array among the operands, numbers included.
cdef inline int operand_of(const Draft& draft, int array) noexcept:
    cdef int k = 0
    while True:
        if not draft.scalar_mask >> k & 1:
            if array == 0:
                return k
            array -= 1
        k += 1


cdef inline bint is_elementwise(const Draft& draft) noexcept:
    return <int>draft.op < <int>Elementwise.count_


# Whether the result depends smoothly on an operand. Comparisons, positions and counts do not: their gradient is 0.
cdef bint has_derivative(const Draft& draft, int array) except -1:
    if is_elementwise(draft):
        return derivative_of(<int>draft.op, operand_of(draft, array))[0] is not None
    if draft.op == Op.reduce:
        return attributes_of[ReduceAttributes](draft).reduction < <int64_t>Reduction.argmax
    if draft.op == Op.take or draft.op == Op.take_back:
        return array == 0
    return True


# Which operands, and whether the result (kResult), are read by the derivative for an operand.
cdef int read_by_derivative(const Draft& draft, int array) except -1:
    cdef Op op = draft.op
    cdef int other = 1 << (1 - array)  # of two
    if is_elementwise(draft):
        return derivative_of(<int>op, operand_of(draft, array))[1]
    if op in (Op.matmul, Op.take, Op.take_back, Op.conv_backward_data, Op.conv_backward_filter):
        return other
    if op == Op.reduce:
        return 0 if attributes_of[ReduceAttributes](draft).reduction == <int64_t>Reduction.sum else 1 | kResult
    if op == Op.softmax or op == Op.log_softmax:
        return kResult
    if op == Op.cross_entropy:
        return 0b11 if array == 0 else 0b01
    if op == Op.cross_entropy_back:
        return 0b01 if array == 0 else 0
    if op == Op.conv_forward:
        return 0 if array == 2 else other
    if op == Op.pool_forward or op == Op.lrn_forward:
        return 1 | kResult
    if op == Op.pool_backward:
        return 0b110
    return 0


# A draft of another operation with an entry's attributes and dtype.
cdef Draft like(TapeEntry entry, Op op, const Shape& shape):
    cdef Draft draft
    draft.op = op
    draft.dtype = entry.draft.dtype
    draft.shape = shape
    draft.take_attributes(entry.draft)
    return draft


# Of the same precision, but for the gradient of filters, which always has the highest.
cdef Draft like_convolution(TapeEntry entry, Op op, const Shape& shape):
    cdef Draft draft = like(entry, op, shape)
    cdef ConvAttributes attributes = attributes_of[ConvAttributes](entry.draft)
    if op == Op.conv_backward_filter:
        attributes.precision = <int32_t>HIGHEST
    elif entry.draft.op == Op.conv_backward_filter:
        attributes.precision = <int32_t>matmul_precision
    draft.set_attributes(attributes)
    return draft


cdef NArray record_two(Draft& draft, NArray first, NArray second):
    draft.add_input(first.node)
    draft.add_input(second.node)
    return commit(draft)


cdef NArray transposed(NArray matrix):
    cdef Draft draft
    cdef TransposeAttributes attributes
    attributes.order = 0x01
    draft.op = Op.transpose
    draft.dtype = matrix.node.dtype
    draft.shape.ndim = 2
    draft.shape.dim[0] = matrix.node.shape.dim[1]
    draft.shape.dim[1] = matrix.node.shape.dim[0]
    draft.set_attributes(attributes)
    draft.add_input(matrix.node)
    return commit(draft)


# Over the dimensions of a bit mask.
cdef NArray sum_over(NArray x, int mask):
    cdef Draft draft
    cdef ReduceAttributes attributes
    cdef int d
    draft.op = Op.reduce
    draft.dtype = x.node.dtype
    draft.shape = x.node.shape
    for d in range(x.node.shape.ndim):
        if mask >> d & 1:
            draft.shape.dim[d] = 1
    attributes.reduction = <int64_t>Reduction.sum
    attributes.axes = mask
    attributes.mean = 0
    draft.set_attributes(attributes)
    draft.add_input(x.node)
    return commit(draft)


# The cotangent of an array operand, number k among the arrays, from that of the result, which is not None.
cdef object derivative(Tape tape, TapeEntry entry, int k, cotangent):
    cdef Op op = entry.draft.op
    cdef const Variable* operand = &tape.variables[entry.inputs[k]]
    cdef const Variable* result = &tape.variables[entry.output]
    cdef Draft draft
    cdef NArray g
    if is_elementwise(entry.draft):
        function = derivative_of(<int>op, operand_of(entry.draft, k))[0]
        if function is copied:
            found = cotangent
        else:
            found = function(entry.x, entry.y, entry.z, entry.r, cotangent)
        return summed(found if type(found) is NArray else float(found), result.shape, operand.shape)
    if op == Op.reduce:
        return derivative_of_reduction(entry, operand, cotangent)
    if op == Op.to_device:
        return cotangent if type(cotangent) is float else to_device(<NArray>cotangent, operand.device)
    if op == Op.cast or op == Op.reshape:
        if type(cotangent) is float:
            return cotangent
        if op == Op.cast:
            return cast(<NArray>cotangent, operand.dtype)
        return reshape(whole(cotangent, result[0]), shape_list(operand.shape))
    if op == Op.transpose and type(cotangent) is float:
        return cotangent
    if op == Op.cross_entropy:
        if k == 1:
            return times(negative(cotangent), record_softmax(Op.log_softmax, entry.x, 0, "grad"))
        draft = like(entry, Op.cross_entropy_back, operand.shape)
        return times(cotangent, record_two(draft, entry.x, entry.y))
    if op == Op.cross_entropy_back and k == 1:
        return negative(cotangent)
    g = whole(cotangent, result[0])
    if op == Op.matmul:
        draft = like(entry, Op.matmul, operand.shape)
        if k == 0:
            return record_two(draft, g, transposed(<NArray>entry.y))
        return record_two(draft, transposed(<NArray>entry.x), g)
    if op == Op.transpose:
        order = [attributes_of[TransposeAttributes](entry.draft).source(d) for d in range(result.shape.ndim)]
        return transpose(g, sorted(range(len(order)), key=order.__getitem__))
    if op == Op.cumsum:
        draft = like(entry, Op.cumsum, operand.shape)
        draft.set_attributes(reversed_sum(attributes_of[CumsumAttributes](entry.draft)))
        draft.add_input(g.node)
        return commit(draft)
    if op == Op.take or op == Op.take_back:
        draft = like(entry, Op.take_back if op == Op.take else Op.take, operand.shape)
        return record_two(draft, g, <NArray>entry.y)
    if op == Op.slice:
        return derivative_of_slice(entry, operand.shape, g)
    if op == Op.concat:
        return derivative_of_concat(tape, entry, k, g)
    if op == Op.softmax or op == Op.log_softmax:
        return derivative_of_softmax(entry, entry.r, g)
    if op == Op.cross_entropy_back:
        draft = like(entry, Op.softmax, operand.shape)
        draft.add_input((<NArray>entry.x).node)
        return derivative_of_softmax_from(commit(draft), entry, g)
    if op == Op.conv_forward:
        return derivative_of_convolution(entry, k, operand.shape, g)
    if op == Op.conv_backward_data:
        draft = like_convolution(entry, Op.conv_forward if k == 0 else Op.conv_backward_filter, operand.shape)
        return record_two(draft, g, entry.y) if k == 0 else record_two(draft, entry.x, g)
    if op == Op.conv_backward_filter:
        draft = like_convolution(entry, Op.conv_forward if k == 0 else Op.conv_backward_data, operand.shape)
        return record_two(draft, entry.y, g) if k == 0 else record_two(draft, entry.x, g)
    if op == Op.conv_backward_bias:
        return reshape(g, [1, 1, operand.shape.dim[2], 1])
    if op == Op.pool_forward:
        draft = like(entry, Op.pool_backward, operand.shape)
        draft.add_input(g.node)
        return record_two(draft, entry.r, entry.x)
    if op == Op.pool_backward:
        return derivative_of_pooling_gradient(entry, k, result.shape, operand.shape, g)
    if op == Op.lrn_forward:
        draft = like(entry, Op.lrn_scale, operand.shape)
        draft.add_input((<NArray>entry.x).node)
        scale = commit(draft)
        draft = like(entry, Op.lrn_backward, operand.shape)
        draft.add_input((<NArray>entry.x).node)
        draft.add_input((<NArray>entry.r).node)
        return record_two(draft, scale, g)
    return no_derivative(entry, "")


cdef object no_derivative(TapeEntry entry, str why):
    file, line = site_location(entry.draft.site)
    name = operation_name(entry.draft.op).decode()
    raise OwlTypeError(f"[grad] {name} has no derivative{why} (recorded at {file}:{line})")


cdef object derivative_of_reduction(TapeEntry entry, const Variable* operand, cotangent):
    cdef ReduceAttributes attributes = attributes_of[ReduceAttributes](entry.draft)
    cdef int64_t count = 1
    cdef int d
    if attributes.reduction == <int64_t>Reduction.sum:
        if attributes.mean:
            for d in range(operand.shape.ndim):
                count *= operand.shape.dim[d] if attributes.axes >> d & 1 else 1
            cotangent = over(cotangent, <double>count)
        return cotangent
    # Equal extremes share what comes in.
    here = arithmetic(Elementwise.eq, entry.x, entry.r, "grad")
    return times(over(cotangent, sum_over(<NArray>here, <int>attributes.axes)), here)


cdef CumsumAttributes reversed_sum(CumsumAttributes attributes) noexcept:
    attributes.reverse = 1 - attributes.reverse
    return attributes


# Numbers are put back between zeros, dimension by dimension.
cdef object derivative_of_slice(TapeEntry entry, const Shape& source, NArray g):
    cdef SliceAttributes attributes = attributes_of[SliceAttributes](entry.draft)
    cdef int64_t offset = entry.draft.argument[0], of_dim = 1, step
    cdef int d, kept = entry.draft.shape.ndim - 1
    if g.node.shape.size() == 0:
        return 0.0
    # From the slowest dimension on: where the slice begins, and how it goes on. A dimension that an index has taken away is one
    # more than the result has left, or its step fits no dimension of the result.
    starts, steps, dims = [0] * source.ndim, [1] * source.ndim, [-1] * source.ndim
    for d in range(source.ndim):
        of_dim *= source.dim[d]
    for d in range(source.ndim - 1, -1, -1):
        of_dim = of_dim // source.dim[d]
        starts[d] = offset // of_dim
        offset -= starts[d] * of_dim
        if kept < 0 or attributes.stride[kept] % of_dim:
            continue
        step = attributes.stride[kept] // of_dim
        if not 0 <= starts[d] + (g.node.shape.dim[kept] - 1) * step < source.dim[d]:
            continue
        steps[d], dims[d] = step, kept
        kept -= 1
    counts = [g.node.shape.dim[dims[d]] if dims[d] >= 0 else 1 for d in range(source.ndim)]
    out = reshape(g, counts)
    for d in range(source.ndim):
        out = spread(out, d, starts[d], steps[d] if counts[d] > 1 else 1, source.dim[d])
    return out


# The numbers along dimension d at `start`, `start` + `step`, … of `size`, with zeros between.
cdef NArray spread(NArray x, int d, int64_t start, int64_t step, int64_t size):
    cdef int64_t count = x.node.shape.dim[d]
    cdef list shape = x.shape
    if step < 0:
        x = get_item(x, (slice(None),) * d + (slice(None, None, -1),))
        start += (count - 1) * step
        step = -step
    if step > 1:
        # A dimension of `step` before this one, of which only the first place is taken.
        apart = shape[:d] + [1] + shape[d:]
        between = zeros_like(x, shape[:d] + [step - 1] + shape[d:])
        x = reshape(concat([reshape(x, apart), between], d), shape[:d] + [count * step] + shape[d + 1:])
        x = get_item(x, (slice(None),) * d + (slice(0, (count - 1) * step + 1),))
    parts = [x]
    after = size - start - x.node.shape.dim[d]
    if start:
        parts.insert(0, zeros_like(x, shape[:d] + [start] + shape[d + 1:]))
    if after:
        parts.append(zeros_like(x, shape[:d] + [after] + shape[d + 1:]))
    return concat(parts, d) if len(parts) > 1 else x


cdef NArray zeros_like(NArray x, shape):
    return fill(shape, 0.0, dtype_object(x.node.dtype), "grad")


cdef object derivative_of_concat(Tape tape, TapeEntry entry, int k, NArray g):
    cdef int along = <int>attributes_of[ConcatAttributes](entry.draft).dimension
    cdef int64_t first = entry.firsts[k]
    return get_item(g, (slice(None),) * along + (slice(first, first + tape.variables[entry.inputs[k]].shape.dim[along]),))


cdef int softmax_dimensions(const SoftmaxAttributes& attributes) noexcept:
    return (1 << attributes.end) - (1 << attributes.first)


# g * r, less r times its sum over the group (softmax); g less exp(r) times g's sum (log_softmax).
cdef object derivative_of_softmax(TapeEntry entry, NArray result, NArray g):
    cdef SoftmaxAttributes attributes = attributes_of[SoftmaxAttributes](entry.draft)
    if entry.draft.op == Op.softmax:
        return derivative_of_softmax_from(result, entry, g)
    total = sum_over(g, softmax_dimensions(attributes))
    return arithmetic(Elementwise.sub, g, times(unary(Elementwise.exp, result), total), "grad")


cdef object derivative_of_softmax_from(NArray softmax, TapeEntry entry, NArray g):
    cdef SoftmaxAttributes attributes = attributes_of[SoftmaxAttributes](entry.draft)
    weighted = times(g, softmax)
    mean = sum_over(<NArray>weighted, softmax_dimensions(attributes))
    return times(softmax, arithmetic(Elementwise.sub, g, mean, "grad"))


cdef object derivative_of_convolution(TapeEntry entry, int k, const Shape& operand, NArray g):
    cdef Draft draft
    if k == 2:
        return conv_backward_bias(g, "grad")
    if k == 0:
        draft = like_convolution(entry, Op.conv_backward_data, operand)
        return record_two(draft, g, entry.y)
    draft = like_convolution(entry, Op.conv_backward_filter, operand)
    return record_two(draft, g, entry.x)


# It is linear in what comes in. Of a mean it is the mean again; of maxima it is what lies where the maximum was.
cdef object derivative_of_pooling_gradient(TapeEntry entry, int k, const Shape& result, const Shape& operand, NArray g):
    cdef PoolAttributes attributes = attributes_of[PoolAttributes](entry.draft)
    cdef bint maxima = attributes.op == <int64_t>PoolOp.max
    cdef Draft draft
    if k > 0:
        return 0.0  # where a maximum lies changes in jumps
    if maxima:
        if attributes.stride_w < attributes.w or attributes.stride_h < attributes.h:
            no_derivative(entry, " where windows of a pooling by max overlap")
        draft = like(entry, Op.pool_backward, result)
        ones = fill(shape_list(operand), 1.0, dtype_object(g.node.dtype), "grad")
        draft.add_input((<NArray>ones).node)
        g = times(g, record_two(draft, entry.y, entry.z))
        attributes.op = <int64_t>PoolOp.average
    draft = like(entry, Op.pool_forward, operand)
    draft.set_attributes(attributes)
    draft.add_input(g.node)
    means = commit(draft)
    return times(means, <double>(attributes.w * attributes.h)) if maxima else means


# ------------------------------------------------------------------------------- what the texts of derivatives are made of


# The product of elements. A factor of 1 is left out.
cdef object times(x, y):
    if type(x) is float or type(x) is int:
        if type(y) is not NArray:
            return x * y
        return y if x == 1 else arithmetic(Elementwise.mul, y, <double>x, "grad")
    if type(y) is float or type(y) is int:
        return x if y == 1 else arithmetic(Elementwise.mul, x, <double>y, "grad")
    return arithmetic(Elementwise.mul, x, y, "grad")


cdef object over(x, y):
    if type(y) is not NArray:
        return x if y == 1 else x / y if type(x) is not NArray else arithmetic(Elementwise.div, x, <double>y, "grad")
    return arithmetic(Elementwise.div, <double>x if type(x) is not NArray else x, y, "grad")


cdef object negative(x):
    return unary(Elementwise.neg, <NArray>x) if type(x) is NArray else -x


def derivative_functions():
    """The functions of which texts of derivatives are made, by name."""
    return {"times": lambda x, y: times(x, y), "over": lambda x, y: over(x, y), "negative": lambda x: negative(x)}
