# Requests for values. What these need and nothing else is submitted; the rest stays recorded.


# Under the graph's lock. `site`: the line that asks.
cdef void request_at(Node* node, uint32_t site) noexcept nogil:
    if node.state == State.recorded:
        scheduler().request(&node, 1, site)


cdef int start(NArray array) except -1:
    release_deferred()
    cdef uint32_t site = call_site()
    with nogil:
        graph().mutex.lock()
        request_at(array.node, site)
        scheduler().unlock_and_compile()
    return 0


# A handle of its own keeps the value while Python runs: another thread, or a signal handler, may point the caller's
# NArray at another value by then.
cdef Buffer* evaluate(NArray array) except NULL:
    cdef Node* node
    cdef bint finished
    cdef uint32_t site
    graph().mutex.lock()
    node = array.node
    graph().add_handle(node)
    finished = node.finished()
    graph().mutex.unlock()
    try:
        if not finished:
            release_deferred()
            site = call_site()
            with nogil:
                graph().mutex.lock()
                request_at(node, site)
                scheduler().unlock_and_compile()
            wait_finished(node)
        return take_buffer(node)
    finally:
        graph().mutex.lock()
        graph().drop_handle(node)
        graph().mutex.unlock()
