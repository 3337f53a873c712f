# Windows that are due, and back-pressure: what recording does now and then besides recording.

cdef int run_bound = 2                   # runs ahead of an executor before recording waits
cdef uint64_t window_random = 0          # OWL_WINDOW=random: seed of the generators that cut windows anywhere; 0: off
if setting("OWL_WINDOW", "", ("random",)):
    window_random = 0x9E3779B97F4A7C15 ^ (number_setting("OWL_WINDOW_SEED", 1) & 0xFFFFFFFF)
scheduler().fuse = setting("OWL_FUSE", "1", ("0", "1")) == "1"


# Draws whether to cut here. The generator is the stream's own: threads that record at once do not disturb one another.
cdef bint cut_at_random(RecordingStream* stream) noexcept:
    cdef uint64_t stride = 0x632BE59BD9B4E019
    cdef uint64_t state = stream.random
    if state == 0:
        state = (window_random + stride * (stream.id + 1)) | 1
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    stream.random = state
    return state % 7 == 0


# When recording calls for attention: submits what has settled, cuts, keeps the bounds, and waits while the executors are
# too far behind.
cdef int attend(RecordingStream* stream) except -1:
    cdef bint random_cut = window_random != 0 and cut_at_random(stream)
    cdef bint behind
    if not random_cut and not stream.attention:
        return 0
    with nogil:
        graph().mutex.lock()
        scheduler().attend(stream, random_cut)
        behind = stream.compiling > 0
        scheduler().unlock_and_compile()
    if behind and loop_of_this_thread() is None:
        wait_for_compilations()
    return wait_for_room()


# Whether every device may get one more run, where `bound` runs ahead are many for a CPU.
cdef bint is_room_within(int bound) noexcept nogil:
    graph().mutex.lock()
    cdef bint room = scheduler().has_room(bound)
    graph().mutex.unlock()
    return room


cdef int wait_for_room() except -1:
    cdef uint64_t seen
    cdef bint told = False
    while True:
        seen = progress().count()
        if is_room_within(run_bound + 1) or (not told and goes_on_without_room()):
            return 0
        told = True
        with nogil:
            progress().wait(seen, 50)
        PyErr_CheckSignals()


def start_recorded():
    """Submits what this thread or task has recorded, without waiting for it; nothing happens if that is nothing.

    For code that is about to wait for something else than owl, such as the next batch: the window that is still open would
    otherwise stay so meanwhile, with the devices idle. Like any end of a window it changes no value.
    """
    if scheduler().streams.empty():
        return
    cdef RecordingStream* stream = current_stream()
    release_deferred()
    with nogil:
        graph().mutex.lock()
        scheduler().submit_open_window(stream)
        scheduler().unlock_and_compile()


# Drops what native threads let go of. Called where the GIL is held and no lock.
cdef inline void release_deferred() noexcept:
    if has_deferred_releases():
        release_deferred_objects()
    if has_unobserved_failures():
        report_unobserved_failures()


cdef void release_deferred_objects() noexcept:
    cdef vector[void*] objects = take_deferred_releases()
    cdef size_t i
    for i in range(objects.size()):
        Py_DECREF(<object>objects[i])
