# Element-wise operations: the operators of NArray and the functions of owl.elewise, which are made from the table of
# operations. Dtypes: float32 and float64 give float64; numbers adapt to the array.


cdef inline NArray unary(Elementwise op, NArray x):
    cdef Draft draft
    draft.op = elementwise_op(op)
    draft.dtype = x.node.dtype
    draft.shape = x.node.shape
    draft.add_input(x.node)
    return commit(draft)


cdef NArray cast(NArray x, DType dtype):
    cdef Draft draft
    draft.op = elementwise_op(Elementwise.copy) if x.node.dtype == dtype else Op.cast
    draft.dtype = dtype
    draft.shape = x.node.shape
    draft.add_input(x.node)
    return commit(draft)


cdef inline object arithmetic(Elementwise op, left, right, str symbol):
    # `left` or `right` is an array.
    cdef Draft draft
    cdef NArray x, y
    if type(left) is NArray and type(right) is NArray:
        x = <NArray>left
        y = <NArray>right
        if x.node.dtype == y.node.dtype:
            draft.op = elementwise_op(op)
            draft.dtype = x.node.dtype
            if x.node.shape == y.node.shape:
                draft.shape = x.node.shape
            else:
                broadcast(x.node.shape, y.node.shape, &draft.shape, symbol)
            draft.add_input(x.node)
            draft.add_input(y.node)
            return commit(draft)
        return record_elementwise(<int>op, (x, y), symbol)
    if type(right) is float or type(right) is int:
        x = <NArray>left
        draft.op = elementwise_op(op)
        draft.dtype = x.node.dtype
        draft.shape = x.node.shape
        draft.add_input(x.node)
        draft.add_scalar(1, as_double(right, symbol) if type(right) is int else <double>right)
        return commit(draft)
    if (type(left) is NArray or accepts(left)) and (type(right) is NArray or accepts(right)):
        return record_elementwise(<int>op, (left, right), symbol)
    return NotImplemented


cdef bint accepts(value):
    return is_number(value) or isinstance(value, np.ndarray)


cdef NArray as_operand(value, DType dtype, str what):
    if type(value) is NArray:
        return <NArray>value
    if isinstance(value, np.ndarray):
        return from_numpy(value, dtype_object(dtype))
    raise DTypeError(f"[{what}] arrays and numbers are wanted, not {type(value).__name__}")


# The general way: any number of operands, arrays, NumPy arrays and numbers.
cdef NArray record_elementwise(int op, operands, str what):
    cdef Draft draft
    cdef NArray array
    cdef DType dtype = DType.f32
    cdef bint any_array = False
    cdef Shape shape
    cdef int k
    for value in operands:
        if type(value) is NArray:
            if not any_array:
                dtype = (<NArray>value).node.dtype
            elif (<NArray>value).node.dtype == DType.f64:
                dtype = DType.f64
            any_array = True
    if not any_array:
        raise DTypeError(f"[{what}] at least one operand must be an owl array, "
                         f"not {', '.join([type(value).__name__ for value in operands])}")
    draft.op = <Op>op
    draft.dtype = dtype
    any_array = False
    keep = []
    for k, value in enumerate(operands):
        if is_number(value):
            draft.add_scalar(k, as_double(value, what))
            continue
        array = as_operand(value, dtype, what)
        if array.node.dtype != dtype:
            array = cast(array, dtype)
        keep.append(array)
        if any_array:
            shape = draft.shape
            broadcast(shape, array.node.shape, &draft.shape, what)
        else:
            draft.shape = array.node.shape
        any_array = True
    for value in keep:  # all at the end: what runs above may point an operand's handle elsewhere
        draft.add_input((<NArray>value).node)
    return commit(draft)


cdef object product(left, right):
    cdef Draft draft
    cdef NArray x
    if type(left) is not NArray or type(right) is not NArray:
        number, array = (right, left) if type(left) is NArray else (left, right)
        if is_number(number):
            x = <NArray>array
            draft.op = elementwise_op(Elementwise.mul)
            draft.dtype = x.node.dtype
            draft.shape = x.node.shape
            draft.add_input(x.node)
            draft.add_scalar(1, as_double(number, "*"))
            return commit(draft)
        if isinstance(number, np.ndarray):
            raise OwlTypeError("[*] of an owl array and a NumPy array could mean two things: owl.from_numpy first for the "
                               "matrix product, owl.elewise.mult for the product of elements")
        return NotImplemented
    return matrix_product(<NArray>left, <NArray>right, "*")


cdef NArray matrix_product(NArray x, NArray y, str what):
    cdef Draft draft
    if x.node.shape.ndim != 2 or y.node.shape.ndim != 2:
        raise ShapeError(f"[{what}] the matrix product takes two matrices, not shapes {x.shape} and {y.shape}; "
                         "owl.elewise.mult multiplies element by element")
    if x.node.shape.dim[1] != y.node.shape.dim[0]:
        raise ShapeError(f"[{what}] the matrix product of shapes {x.shape} and {y.shape} does not exist: "
                         f"{x.node.shape.dim[1]} columns, {y.node.shape.dim[0]} rows")
    if x.node.dtype != y.node.dtype:
        x = cast(x, DType.f64)
        y = cast(y, DType.f64)
    draft.op = Op.matmul
    draft.set_attributes(MatmulAttributes(matmul_precision))
    draft.dtype = x.node.dtype
    draft.shape.ndim = 2
    draft.shape.dim[0] = x.node.shape.dim[0]
    draft.shape.dim[1] = y.node.shape.dim[1]
    check_size(draft.shape, what)
    draft.add_input(x.node)
    draft.add_input(y.node)
    return commit(draft)


# `@`, which means matrices alone. Objects of other libraries may know better.
cdef object matmul(left, right):
    if type(left) is NArray and type(right) is NArray:
        if (<NArray>left).node.shape.ndim != 2 or (<NArray>right).node.shape.ndim != 2:
            raise ShapeError(f"[@] takes two matrices, as * does, not shapes {left.shape} and {right.shape}")
        return matrix_product(<NArray>left, <NArray>right, "@")
    other = right if type(left) is NArray else left
    if is_number(other):
        raise OwlTypeError("[@] takes two matrices: the product of an array and a number is *")
    if isinstance(other, np.ndarray):
        raise OwlTypeError("[@] takes two owl arrays, as * does: owl.from_numpy first")
    return NotImplemented


cdef object in_place(NArray self, Elementwise op, other, str symbol):
    result = arithmetic(op, self, other, symbol)
    if result is NotImplemented:
        return result
    if (<NArray>result).node.dtype != self.node.dtype:
        result = cast(<NArray>result, self.node.dtype)
    return repoint(self, <NArray>result, symbol)


# ------------------------------------------------------------------------------------------------ functions of elewise

cdef extern from *:
    """
    namespace owl { namespace {
    // One method definition per operation: builtin functions, because a Python wrapper would cost as much as recording
    // itself and would hide the line that called it.
    PyMethodDef elementwise_methods[64];
    inline PyObject* make_builtin(int slot, const char* name, void* function, const char* doc, PyObject* self,
                                  PyObject* module) {
        elementwise_methods[slot] = PyMethodDef{name, reinterpret_cast<PyCFunction>(function), METH_FASTCALL, doc};
        return PyCFunction_NewEx(&elementwise_methods[slot], self, module);
    }
    } }
    """
    object make_builtin "owl::make_builtin"(int slot, const char* name, void* function, const char* doc, object self, object module)


@cython.final
cdef class ElementwiseOperation:
    # What a builtin of owl.elewise is bound to.
    cdef int op
    cdef int arity
    cdef int with_two  # the operation that two operands mean, where the name stands for both; -1: none
    cdef str name


cdef ElementwiseOperation make_operation(int op, str name):
    cdef ElementwiseOperation operation = ElementwiseOperation.__new__(ElementwiseOperation)
    operation.op = op
    operation.arity = elementwise_info(op).arity
    operation.with_two = -1
    operation.name = name
    if op == <int>Elementwise.sigm_back:
        operation.with_two = <int>Elementwise.sigm_diff
    elif op == <int>Elementwise.tanh_back:
        operation.with_two = <int>Elementwise.tanh_diff
    return operation


cdef object call_elementwise(ElementwiseOperation operation, tuple operands, str what):
    cdef int op = operation.op
    if len(operands) == 2 and operation.with_two >= 0:
        op = operation.with_two
    elif len(operands) != operation.arity:
        wanted = f"{operation.arity} or 2" if operation.with_two >= 0 else str(operation.arity)
        raise OwlTypeError(f"[{what}] takes {wanted} argument(s), not {len(operands)}")
    return record_elementwise(op, operands, what)


cdef object elementwise_fastcall(object self, PyObject** args, Py_ssize_t count):
    cdef ElementwiseOperation operation = <ElementwiseOperation>self
    if count == 1 and operation.arity == 1 and type(<object>args[0]) is NArray:
        return unary(<Elementwise>operation.op, <NArray><object>args[0])
    if count == 2 and operation.arity == 2 and type(<object>args[0]) is NArray and type(<object>args[1]) is NArray:
        return arithmetic(<Elementwise>operation.op, <object>args[0], <object>args[1], operation.name)
    return call_elementwise(operation, tuple([<object>args[k] for k in range(count)]), operation.name)


cdef list method_texts = []  # names and docstrings of builtins, which keep pointers to them


# What `inspect.signature` and `help` read, at the head of a builtin's docstring.
cdef str text_signature(function):
    names = list(function.__code__.co_varnames[:function.__code__.co_argcount])
    defaults = function.__defaults__ or ()
    for k in range(len(defaults)):
        names[len(names) - len(defaults) + k] += f"={defaults[k]!r}"
    return f"{function.__name__}({', '.join(names)}, /)\n--\n\n"


cdef dict make_elementwise_functions():
    from inspect import cleandoc

    from owl._api import activations, elewise
    cdef dict functions = {}
    cdef dict numbers = {elementwise_info(op).name.decode(): op for op in range(<int>Elementwise.count_)}
    cdef bytes encoded_name, doc
    for name, function in {**vars(elewise), **vars(activations)}.items():
        if not callable(function):
            continue
        op = numbers[elewise.OPERATIONS.get(name, name)]
        encoded_name = name.encode()
        doc = (text_signature(function) + cleandoc(function.__doc__)).encode()
        method_texts.append((encoded_name, doc))
        functions[name] = make_builtin(op, encoded_name, <void*>elementwise_fastcall, doc, make_operation(op, name),
                                       "owl.elewise")
    return functions


def elementwise_table():
    """The rows of operations.def: (name, arity, derivatives)."""
    return [
        (elementwise_info(op).name.decode(), elementwise_info(op).arity, elementwise_info(op).derivatives.decode().split(";"))
        for op in range(<int>Elementwise.count_)
    ]


elementwise_functions = make_elementwise_functions()
