# Recording: from a checked draft to a node in the window of the thread or task that records.


# Takes over the node's handle that recording gave.
cdef inline NArray wrap(Node* node):
    cdef NArray array = NArray.__new__(NArray)
    array.node = node
    return array


# Completes a draft at the caller's line and records it.
cdef NArray commit(Draft& draft):
    cdef NArray out = NArray.__new__(NArray)  # first, for it may collect garbage
    cdef int device = -1
    cdef RecordingStream* owner_unknown
    cdef RecordingStream* stream = cached_stream(&device)
    if stream is NULL or device < 0 or has_deferred_releases() or has_unobserved_failures() or is_reserve_spent():
        return commit_slowly(draft, out)
    if stream.differentiates:
        return commit_differentiated(draft, out, stream, device)
    draft.site = call_site()
    draft.device = device
    out.node = record(draft, stream, &owner_unknown)
    if out.node is NULL:
        return commit_slowly(draft, out)
    if window_random or stream.attention:
        attend(stream)
    return out


# While a call is differentiated, forward and backward.
cdef NArray commit_differentiated(Draft& draft, NArray out, RecordingStream* stream, int device):
    cdef RecordingStream* owner_unknown
    draft.site = stream.site or call_site()
    draft.device = device
    out.node = record(draft, stream, &owner_unknown)
    if out.node is NULL:
        return commit_slowly(draft, out)
    if stream.tape is not NULL:
        tape_operation(stream, draft, out)
    if window_random or stream.attention:
        attend(stream)
    return out


# Python runs here, and with it perhaps another thread that points an operand's handle elsewhere: the draft alone does not
# keep its inputs.
cdef NArray commit_slowly(Draft& draft, NArray out):
    cdef RecordingStream* stream
    cdef RecordingStream* owner_unknown
    cdef uint32_t k
    graph().mutex.lock()
    for k in range(draft.n_inputs):
        graph().add_handle(draft.input(k))
    graph().mutex.unlock()
    try:
        stream = current_stream()
        release_deferred()
        check_reserve()
        draft.site = stream.site or call_site()
        draft.device = current_device(stream)
        out.node = record(draft, stream, &owner_unknown)
        if out.node is NULL:
            for k in range(draft.n_inputs):
                look_after_task(draft.input(k), stream)
            out.node = record(draft, stream, NULL)
        if out.node is NULL:
            raise_no_memory_to_record()
        if stream.tape is not NULL:
            tape_operation(stream, draft, out)
    finally:
        graph().mutex.lock()
        for k in range(draft.n_inputs):
            graph().drop_handle(draft.input(k))
        graph().mutex.unlock()
    if window_random or stream.attention:
        attend(stream)
    return out


# So little memory is left that the system has refused some: what has begun can end, and nothing new begins.
cdef int check_reserve() except -1:
    cdef bint refilled
    if is_reserve_spent():
        graph().mutex.lock()
        graph().trim()
        refilled = refill_reserve()
        graph().mutex.unlock()
        if not refilled:
            raise_no_memory_to_record()
    return 0


cdef int raise_no_memory_to_record() except -1:
    raise OutOfMemoryError(f"[owl] out of memory while recording: {memory_in_words()}", "out_of_memory")
