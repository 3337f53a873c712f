# Promised arrays: recorded before their values exist.

cdef extern from *:
    """
    namespace owl { namespace {
    std::vector<Node*>& promised = *new std::vector<Node*>;  // never destroyed
    } }
    """
    vector[Node*] promised "owl::promised"  # held; guarded by the graph's lock


@cython.final
cdef class Promise:
    """The other end of a promised array: the value is given later, from any thread."""

    cdef Node* node
    cdef readonly NArray array

    def __dealloc__(self):
        if self.node is NULL:
            return
        self.array = None  # a handle of ours must not count as a waiter
        settle_promise(self.node, NULL, NULL)
        graph().mutex.lock()
        graph().unhold(self.node)
        graph().mutex.unlock()

    def fulfil(self, value):
        """Gives the value, copied from an array of the promised shape and dtype."""
        cdef Py_buffer view
        value = np.ascontiguousarray(value, dtype_object(self.node.dtype))
        if value.shape != numpy_shape(self.node.shape):
            raise ShapeError(f"[Promise] shape {value.shape} was given, {numpy_shape(self.node.shape)} was promised")
        cdef Buffer* buffer = take_memory(value.nbytes, self.node.device, "Promise")
        PyObject_GetBuffer(value, &view, PyBUF_C_CONTIGUOUS)
        memcpy(buffer.data, view.buf, view.len)
        PyBuffer_Release(&view)
        settle_promise(self.node, buffer, NULL)

    def fail(self, str reason):
        """Says that there will be no value, and why."""
        cdef Failure* failure = new Failure(FailureKind.promise, reason.encode())
        settle_promise(self.node, NULL, failure)
        failure.release()


# Under no lock. A promise is settled once; later calls do nothing. Without a value and a failure it is dropped.
cdef void settle_promise(Node* node, Buffer* buffer, Failure* failure) noexcept:
    cdef size_t i
    cdef Failure* dropped = NULL
    graph().mutex.lock()
    for i in range(promised.size()):
        if promised[i] == node:
            promised[i] = promised.back()
            promised.pop_back()
            node.parked = False
            if failure is NULL and buffer is NULL:
                failure = dropped = new Failure(FailureKind.promise, b"the promise was dropped")
                dropped.observed.store(not node.live())
            if failure is not NULL:
                graph().fail(node, failure)
            elif has_own_memory[node.device]:
                scheduler().upload(node, buffer)
                buffer = NULL
            else:
                graph().complete(node, buffer)
                buffer = NULL
            graph().unhold(node)
            break
    graph().mutex.unlock()
    if buffer is not NULL:
        buffer.release()
    if dropped is not NULL:
        dropped.release()


def promise(shape, dtype=None):
    """A promised array: recorded work may use it at once and runs when the value is given.

    Returns
    -------
    Promise
        Its `array` is the NArray.
    """
    cdef Promise out = Promise.__new__(Promise)
    cdef Shape wanted
    parse_shape(shape, &wanted, "promise")
    cdef NArray array = NArray.__new__(NArray)
    cdef RecordingStream* stream = current_stream()
    array.node = record_leaf(wanted, parse_dtype(dtype, "promise"), current_device(stream), call_site(), NULL, stream)
    graph().mutex.lock()
    graph().hold(array.node)
    graph().hold(array.node)  # one for the list, one for the Promise object
    promised.push_back(array.node)
    graph().mutex.unlock()
    out.node = array.node
    out.array = array
    return out
