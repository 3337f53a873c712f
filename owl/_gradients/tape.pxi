# The tape of a call that is differentiated: what was recorded while it ran, as far as it depends on the call's arguments.
#
# A tape belongs to the stream that records, from the beginning of the call to its end, and knows values by the sequence numbers of
# their nodes; nodes know nothing of it. Calls may be nested: each tape then takes down what is recorded, the inner one's
# backward pass included, so that gradients of gradients are no case of their own.


# What depends on an argument, and what the derivatives of its operation read. Making one must not start the garbage collector:
# Python would run, and might point the operands' handles elsewhere while nothing holds their nodes yet.
@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class TapeEntry:
    cdef Draft draft            # its pointers to inputs are stale
    cdef int output             # a variable
    cdef vector[int] inputs     # a variable of each operand that is an array, -1 where it depends on no argument
    cdef vector[int64_t] firsts  # of a concatenation: where each operand begins
    cdef object x, y, z, r      # operands, and the result: those that a derivative reads, None otherwise
    cdef object pullback        # instead of an operation: cotangents of `outputs` to those of `inputs`
    cdef vector[int] outputs


cdef struct Variable:
    uint64_t sequence  # of the node by which the tape knows the value
    Shape shape
    DType dtype
    uint16_t device


@cython.final
cdef class Tape:
    cdef vector[Variable] variables  # in the order of their nodes
    cdef list entries
    cdef Tape outer

    # The value's number, -1 if it depends on no argument.
    cdef int number_of(self, const Node* node) noexcept:
        cdef uint64_t sequence = node.sequence
        cdef int first = 0, middle, last = <int>self.variables.size()
        while first < last:
            middle = (first + last) // 2
            if self.variables[middle].sequence < sequence:
                first = middle + 1
            else:
                last = middle
        if first < <int>self.variables.size() and self.variables[first].sequence == sequence:
            return first
        return -1

    # Of a node that was recorded after those of all other variables.
    cdef int add_variable(self, const Node* node) except -1:
        cdef Variable variable
        variable.sequence = node.sequence
        variable.shape = node.shape
        variable.dtype = node.dtype
        variable.device = node.device
        self.variables.push_back(variable)
        return <int>self.variables.size() - 1

    # Takes down an operation if it depends smoothly on an argument.
    cdef int add(self, Draft& draft, NArray out) except -1:
        cdef TapeEntry entry = None
        cdef int number, reads = 0
        cdef uint32_t k
        for k in range(draft.n_inputs):
            number = self.number_of(draft.input(k))
            if number < 0 or not has_derivative(draft, <int>k):
                continue
            if entry is None:
                entry = TapeEntry.__new__(TapeEntry)
                entry.inputs.assign(draft.n_inputs, -1)
            entry.inputs[k] = number
            reads |= read_by_derivative(draft, <int>k)
        if entry is None:
            return 0
        if reads:
            keep_values(entry, draft, reads, out)
        if draft.op == Op.concat:
            note_places(entry, draft)
        entry.draft = draft
        entry.output = self.add_variable(out.node)
        self.entries.append(entry)
        return 0


cdef int kResult = 1 << 7  # in a mask of what a derivative reads; lower bits stand for operands, numbers included


# Gives an entry handles of its operation's operands and result, where `reads` has their bits.
cdef int keep_values(TapeEntry entry, Draft& draft, int reads, NArray out) except -1:
    cdef Node* nodes[4]
    cdef int k, count = 0, arrays = 0, numbers = 0
    cdef object value
    for k in range(3):
        if not reads >> k & 1:
            arrays += not draft.scalar_mask >> k & 1
            numbers += draft.scalar_mask >> k & 1
            continue
        if draft.scalar_mask >> k & 1:
            value = draft.scalar[numbers]
            numbers += 1
        else:
            value = NArray.__new__(NArray)
            nodes[count] = draft.input(arrays)
            arrays += 1
            count += 1
        if k == 0:
            entry.x = value
        elif k == 1:
            entry.y = value
        else:
            entry.z = value
    if reads & kResult:
        entry.r = NArray.__new__(NArray)
        nodes[count] = out.node
        count += 1
    graph().mutex.lock()
    for k in range(count):
        graph().add_handle(nodes[k])
    graph().mutex.unlock()
    count = 0
    count += give_node(entry.x, nodes[count])
    count += give_node(entry.y, nodes[count])
    count += give_node(entry.z, nodes[count])
    count += give_node(entry.r, nodes[count])
    return 0


cdef inline int give_node(value, Node* node) noexcept:
    if type(value) is not NArray:
        return 0
    (<NArray>value).node = node
    return 1


cdef void note_places(TapeEntry entry, Draft& draft):
    cdef int along = <int>attributes_of[ConcatAttributes](draft).dimension
    cdef int64_t first = 0
    cdef uint32_t k
    for k in range(draft.n_inputs):
        entry.firsts.push_back(first)
        first += draft.input(k).shape.dim[along]


cdef int tape_operation(RecordingStream* stream, Draft& draft, NArray out) except -1:
    cdef Tape tape = <Tape>stream.tape
    while tape is not None:
        tape.add(draft, out)
        tape = tape.outer
    return 0


# The innermost tape of the stream, None if nothing is differentiated. The caller keeps it alive, and the new one.
cdef Tape swap_tape(RecordingStream* stream, Tape tape):
    cdef Tape before = None if stream.tape is NULL else <Tape>stream.tape
    stream.tape = NULL if tape is None else <void*>tape
    stream.differentiates = tape is not None or stream.site != 0
    return before


# What is recorded from here on counts as recorded at `site`; 0: at the caller's line.
cdef inline void set_site(RecordingStream* stream, uint32_t site) noexcept:
    stream.site = site
    stream.differentiates = stream.tape is not NULL or site != 0


# ------------------------------------------------------------------------------------------------------ the backward pass


# A cotangent is an array that can be repeated to the variable's shape, a number that stands for one everywhere, or None for 0.
cdef object add_cotangents(a, b):
    if a is None:
        return b
    if b is None:
        return a
    if type(a) is float and type(b) is float:
        return a + b
    return arithmetic(Elementwise.add, a, b, "grad")


# Of the shape that a variable has.
cdef NArray whole(cotangent, const Variable& variable):
    cdef Draft draft
    if type(cotangent) is NArray and (<NArray>cotangent).node.shape == variable.shape:
        return <NArray>cotangent
    draft.op = elementwise_op(Elementwise.copy if type(cotangent) is not NArray else Elementwise.add)
    draft.dtype = variable.dtype
    draft.shape = variable.shape
    if type(cotangent) is not NArray:
        draft.add_scalar(0, 0.0 if cotangent is None else <double>cotangent)
        return commit(draft)
    zero = whole(None, variable)  # what repeats the numbers of the other operand
    draft.add_input((<NArray>cotangent).node)
    draft.add_input((<NArray>zero).node)
    return commit(draft)


# From a cotangent of a result to that of an operand that was repeated to the result's shape.
cdef object summed(cotangent, const Shape& result, const Shape& operand):
    cdef int d, mask = 0
    cdef int64_t repeated = 1
    cdef NArray array
    if operand == result:
        return cotangent
    for d in range(result.ndim):
        if operand.dim[d] == result.dim[d]:
            continue
        if type(cotangent) is NArray and (<NArray>cotangent).node.shape.dim[d] != 1:
            mask |= 1 << d
        else:
            repeated *= result.dim[d]
    if type(cotangent) is float:
        return cotangent * repeated
    array = <NArray>cotangent
    if mask:
        array = sum_over(array, mask)
    return array if repeated == 1 else arithmetic(Elementwise.mul, array, <double>repeated, "grad")


# Goes through the tape from its end; `cotangents` has one for each variable. With `use_up` entries are dropped on the way.
cdef int pull_back(Tape tape, list cotangents, RecordingStream* stream, bint use_up) except -1:
    cdef TapeEntry entry
    cdef list entries = tape.entries
    cdef Py_ssize_t at
    cdef int device = stream.device
    cdef uint32_t site = stream.site
    try:
        for at in range(len(entries) - 1, -1, -1):
            entry = <TapeEntry>entries[at]
            if use_up:
                entries.pop()
            if entry.pullback is not None:
                stream.device = device
                set_site(stream, site)
                pull_back_call(tape, entry, cotangents)
                continue
            if cotangents[entry.output] is None:
                continue
            stream.device = entry.draft.device
            set_site(stream, entry.draft.site)
            pull_back_operation(tape, entry, cotangents)
    finally:
        stream.device = device
        set_site(stream, site)
    return 0


cdef int pull_back_operation(Tape tape, TapeEntry entry, list cotangents) except -1:
    cdef object cotangent = cotangents[entry.output]
    cdef size_t k
    cdef int number
    cotangents[entry.output] = None
    for k in range(entry.inputs.size()):
        number = entry.inputs[k]
        if number < 0:
            continue
        cotangents[number] = add_cotangents(cotangents[number], derivative(tape, entry, <int>k, cotangent))
    return 0


cdef int pull_back_call(Tape tape, TapeEntry entry, list cotangents) except -1:
    cdef size_t k
    cdef int number
    cdef list given = []
    cdef bint any_given = False
    for k in range(entry.outputs.size()):
        number = entry.outputs[k]
        any_given = any_given or cotangents[number] is not None
        given.append(cotangents[number])
    if not any_given:
        return 0
    for k in range(entry.outputs.size()):
        number = entry.outputs[k]
        given[k] = whole(given[k], tape.variables[number])
        cotangents[number] = None
    found = entry.pullback(given)
    for k in range(entry.inputs.size()):
        number = entry.inputs[k]
        if number >= 0 and found[k] is not None:
            if (<NArray?>found[k]).node.shape != tape.variables[number].shape:
                raise ShapeError(f"[grad] a custom rule gave a cotangent of shape {found[k].shape} for an argument of shape "
                                 f"{shape_list(tape.variables[number].shape)}")
            cotangents[number] = add_cotangents(cotangents[number], found[k])
    return 0
