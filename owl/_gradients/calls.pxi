# Calls that are differentiated: from a function and its arguments to a tape, and from the tape to gradients.


# Another value of the same content, where that lies. Nothing is copied.
cdef NArray alias(NArray x):
    cdef RecordingStream* stream = current_stream()
    cdef int device = stream.device
    stream.device = x.node.device
    try:
        return unary(Elementwise.copy, x)
    finally:
        stream.device = device


# The function's result, with all that it records on a tape of its own.
cdef object run_taped(Tape tape, function, args, dict kwargs):
    cdef RecordingStream* stream = current_stream()
    cdef Tape before = swap_tape(stream, tape)
    tape.entries = []
    tape.outer = before
    try:
        return function(*args, **kwargs)
    finally:
        swap_tape(stream, before)


# What a call has left behind: its result, and how the result depends on the arrays of some arguments.
@cython.final
cdef class TapedCall:
    cdef Tape tape
    cdef object result
    cdef list nests   # the arguments
    cdef int leaves   # of them; they are the tape's first variables

    # Calls the function. Its arguments' arrays are new values for it, so that arrays which it has from elsewhere do not count as
    # arguments, whether or not they are the same.
    cdef int call(self, function, tuple args, dict kwargs, tuple argnums, str what) except -1:
        cdef Tape tape = Tape.__new__(Tape)
        cdef list given = list(args)
        cdef list leaves
        cdef set seen = set()
        cdef Py_ssize_t at, number
        self.tape = tape
        self.nests = []
        for number in argnums:
            if not -len(args) <= number < len(args):
                raise OwlIndexError(f"[{what}] there is no argument {number} among {len(args)}")
            if number < 0:
                number += len(args)
            if number in seen:
                raise OwlValueError(f"[{what}] argnums names argument {number} twice: {argnums}")
            seen.add(number)
            leaves = leaves_of(args[number], what, f"argument {number}")
            for at in range(len(leaves)):
                leaves[at] = alias(<NArray>leaves[at])
                tape.add_variable((<NArray>leaves[at]).node)
            at = 0
            given[number] = rebuild(args[number], leaves, &at)
            self.nests.append(args[number])
        self.leaves = <int>tape.variables.size()
        self.result = run_taped(tape, function, given, kwargs)
        if hasattr(self.result, "__await__") and type(self.result) is not NArray:
            if hasattr(self.result, "close"):
                self.result.close()
            raise OwlTypeError(f"[{what}] the function is a plain one: a coroutine would run after its call is over")
        return 0

    # Cotangents of the first `count` variables, from those of values of the call; None where nothing comes in.
    cdef list cotangents_of(self, list values, list given, int count, bint use_up=True):
        cdef Tape tape = self.tape
        cdef list cotangents = [None] * <Py_ssize_t>tape.variables.size()
        cdef Py_ssize_t k
        cdef int number
        for k in range(len(values)):
            number = tape.number_of((<NArray>values[k]).node)
            if number >= 0:
                cotangents[number] = add_cotangents(cotangents[number], given[k])
        pull_back(tape, cotangents, current_stream(), use_up)
        return [None if cotangents[k] is None else whole_leaf(cotangents[k], tape.variables[k]) for k in range(count)]

    # Gradients of the arguments, a nest each.
    cdef list gradients(self, list values, list given, bint use_up):
        cdef list leaves = self.cotangents_of(values, given, self.leaves, use_up)
        cdef Py_ssize_t k, at = 0
        for k in range(self.leaves):
            if leaves[k] is None:
                leaves[k] = whole_leaf(None, self.tape.variables[k])
        return [rebuild(nest, leaves, &at) for nest in self.nests]


cdef NArray whole_leaf(cotangent, const Variable& variable):
    cdef RecordingStream* stream
    cdef int device
    if type(cotangent) is NArray:
        return whole(cotangent, variable)
    stream = current_stream()
    device = stream.device
    stream.device = variable.device
    try:
        return whole(cotangent, variable)
    finally:
        stream.device = device


cdef tuple argument_numbers(argnums, str what):
    return whole_numbers(argnums, what, "argnums")


cdef int check_function(function, str what) except -1:
    if not callable(function):
        raise OwlTypeError(f"[{what}] a function is wanted, not {type(function).__name__}")
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is not None and code.co_flags & 0x280:  # coroutines and asynchronous generators
        raise OwlTypeError(f"[{what}] {function.__name__} is a coroutine function: a plain one is wanted")
    return 0


def check_differentiable(function, argnums, what):
    """Raises unless a function can be differentiated with respect to these arguments."""
    check_function(function, what)
    if not argument_numbers(argnums, what):
        raise OwlValueError(f"[{what}] argnums names no argument")


def value_and_gradients(function, tuple args, dict kwargs, argnums, bint has_aux, what):
    """(result, gradients) of a call, gradients as `argnums` is: one, or a tuple."""
    cdef TapedCall call = TapedCall.__new__(TapedCall)
    call.call(function, args, kwargs, argument_numbers(argnums, what), what)
    value = call.result
    if has_aux:
        if type(value) is not tuple or len(<tuple>value) != 2:
            raise OwlTypeError(f"[{what}] with has_aux=True the function returns a pair, not {type(value).__name__}")
        value = value[0]
    if type(value) is not NArray or (<NArray>value).node.shape.size() != 1:
        found = f"shape {value.shape}" if type(value) is NArray else type(value).__name__
        raise ShapeError(f"[{what}] the function returns one number, as an owl array of one element, not {found}; "
                         "owl.vjp takes results of any shape")
    gradients = call.gradients([value], [1.0], True)
    return call.result, (gradients[0] if hasattr(argnums, "__index__") else tuple(gradients))


@cython.final
cdef class Pullback:
    """From cotangents of a call's result to those of its arguments; see `owl.vjp`."""

    cdef TapedCall call

    def __call__(self, cotangent):
        """A tuple with the cotangent of each argument. It may be called more than once, by any thread."""
        values = leaves_of(self.call.result, "vjp", "the result")
        given = matching_leaves(cotangent, self.call.result, "vjp", "the cotangent")
        for value, part in zip(values, given):
            if (<NArray>part).node.shape != (<NArray>value).node.shape:
                raise ShapeError(f"[vjp] a cotangent has shape {part.shape}, the result that it belongs to {value.shape}")
        given = [converted(part, (<NArray>value).node.dtype) for value, part in zip(values, given)]
        return tuple(self.call.gradients(values, given, False))


def taped_call(function, tuple args, what):
    """(result, `Pullback`) of a call, with respect to all its arguments."""
    cdef Pullback pullback = Pullback.__new__(Pullback)
    check_function(function, what)
    pullback.call = TapedCall.__new__(TapedCall)
    pullback.call.call(function, args, {}, tuple(range(len(args))), what)
    result = pullback.call.result
    leaves_of(result, what, "the result")
    pullback.call.result = held(result)  # the caller may use in-place operators on its own
    return result, pullback


def is_taping():
    """Whether the code that runs now is differentiated."""
    return current_stream().tape is not NULL


def untaped(nest, what):
    """Other arrays of the same values, which for derivatives are constants."""
    cdef RecordingStream* stream = current_stream()
    cdef Py_ssize_t at = 0
    leaves = leaves_of(nest, what, "x")
    tape = swap_tape(stream, None)
    try:
        leaves = [alias(<NArray>leaf) for leaf in leaves]
    finally:
        swap_tape(stream, tape)
    return rebuild(nest, leaves, &at)


# ------------------------------------------------------------------------------------ calls with a backward pass of their own
#
# While such a call runs, its operations are taken down as always. Then one entry replaces them, and with them the values that
# they would have kept. Arguments come under other handles, so that in-place operators of the function point only its own elsewhere.


# Takes the entries from the `first` one on from the innermost tape. Returns the variables that they read, of those that the tape
# had before, `known` of them.
cdef set take_entries(Tape tape, Py_ssize_t first, int known):
    cdef TapeEntry entry
    cdef size_t k
    cdef set reads = set()
    for entry in tape.entries[first:]:
        for k in range(entry.inputs.size()):
            if 0 <= entry.inputs[k] < known:
                reads.add(entry.inputs[k])
    del tape.entries[first:]
    return reads


# Numbers of the result's arrays in the entry of a call. An array that the call took from elsewhere gets another handle: its result
# is a value of its own.
cdef object number_outputs(Tape tape, TapeEntry entry, result, int known, set reads, str what):
    cdef RecordingStream* stream = current_stream()
    cdef list leaves = leaves_of(result, what, "the result")
    cdef Py_ssize_t k, at = 0
    cdef int number
    for k in range(len(leaves)):
        number = tape.number_of((<NArray>leaves[k]).node)
        if number < known:
            if number >= 0:
                reads.add(number)
            swap_tape(stream, tape.outer)
            try:
                leaves[k] = alias(<NArray>leaves[k])
            finally:
                swap_tape(stream, tape)
            number = tape.add_variable((<NArray>leaves[k]).node)
        entry.outputs.push_back(number)
    return rebuild(result, leaves, &at)


def call_with_rule(function, forward, backward, tuple args, what):
    """The result of `function`, which the innermost tape takes down as one operation, with `forward` and `backward` as its rule."""
    cdef RecordingStream* stream = current_stream()
    cdef TapeEntry entry
    cdef Tape tape
    cdef Py_ssize_t first
    cdef int known
    args = held(args)
    if stream.tape is NULL:
        return function(*args)
    tape = <Tape>stream.tape
    first = len(tape.entries)
    known = <int>tape.variables.size()
    given = [tape.number_of((<NArray>leaf).node) for leaf in arrays_in(args)]
    result = forward(*held(args))
    if type(result) is not tuple or len(<tuple>result) != 2:
        raise OwlTypeError(f"[{what}] the forward rule returns the result and what the backward rule needs, not "
                           f"{type(result).__name__}")
    result, kept = result
    entry = TapeEntry.__new__(TapeEntry)
    reads = take_entries(tape, first, known)
    result = number_outputs(tape, entry, result, known, reads, what)
    if not reads <= set(given):
        raise OwlRuntimeError(f"[{what}] the function reads an array that is being differentiated and is none of its arguments: "
                              "pass it as one")

    def pull_back_by_rule(cotangents):
        cdef Py_ssize_t at = 0
        found = backward(kept, rebuild(result, cotangents, &at))
        if type(found) is not tuple or len(<tuple>found) != len(args):
            raise OwlTypeError(f"[{what}] the backward rule returns a tuple of {len(args)} cotangents, one for each argument")
        leaves = []
        for number, (argument, cotangent) in enumerate(zip(args, found)):
            leaves += ([None] * len(arrays_in(argument)) if cotangent is None else
                       matching_leaves(cotangent, argument, what, f"the cotangent of argument {number}"))
        return leaves

    if max(given, default=-1) >= 0:
        entry.inputs = given
        entry.pullback = pull_back_by_rule
        tape.entries.append(entry)
    return result


# What `owl.remat` keeps of a call: how to make it again, on the same device, with the same random numbers.
@cython.final
cdef class Recomputation:
    cdef object function
    cdef tuple args
    cdef dict kwargs
    cdef vector[Variable] reads
    cdef int device
    cdef DrawLog draws

    def __call__(self, list cotangents):
        cdef RecordingStream* stream = current_stream()
        cdef TapedCall call = TapedCall.__new__(TapedCall)
        cdef uint32_t site = stream.site
        cdef int device = stream.device
        call.tape = Tape.__new__(Tape)
        call.tape.variables = self.reads
        set_site(stream, 0)
        stream.device = self.device
        log = self.draws.begin(stream, True)
        try:
            result = run_taped(call.tape, self.function, held(self.args), held(self.kwargs))
        finally:
            self.draws.end(stream, log)
            stream.device = device
            set_site(stream, site)
        return call.cotangents_of(leaves_of(result, "remat", "the result"), cotangents, <int>self.reads.size())


def call_rematerialized(function, tuple args, dict kwargs):
    """The result of ``function(*args, **kwargs)``, of which the innermost tape keeps nothing but how to compute it again."""
    cdef RecordingStream* stream = current_stream()
    cdef Recomputation again
    cdef TapeEntry entry
    cdef Tape tape
    cdef Py_ssize_t first
    cdef int known, number
    args, kwargs = held(args), held(kwargs)
    if stream.tape is NULL:
        return function(*args, **kwargs)
    tape = <Tape>stream.tape
    first = len(tape.entries)
    known = <int>tape.variables.size()
    again = Recomputation.__new__(Recomputation)
    again.function, again.args, again.kwargs = function, args, kwargs
    again.device = stream.device
    again.draws = DrawLog.__new__(DrawLog)
    log = again.draws.begin(stream, False)
    try:
        result = function(*held(args), **held(kwargs))
    finally:
        again.draws.end(stream, log)
    entry = TapeEntry.__new__(TapeEntry)
    reads = take_entries(tape, first, known)
    result = number_outputs(tape, entry, result, known, reads, "remat")
    if reads:
        entry.inputs = sorted(reads)
        for number in sorted(reads):
            again.reads.push_back(tape.variables[number])
        entry.pullback = again
        tape.entries.append(entry)
    return result
