# From windows to runs: closing, splitting by device, finding or compiling the plan, handing over, and back-pressure.



cdef size_t node_bound = 4096  # nodes of an open window
cdef size_t byte_bound = 0               # bytes that an open window's nodes would take; a quarter of memory
cdef int run_bound = 2                   # runs ahead of an executor before recording waits
cdef bint fuse = os.environ.get("OWL_FUSE", "1") != "0"
cdef uint64_t window_random = 0          # OWL_WINDOW=random: state of the generator that cuts windows anywhere; 0: off
if os.environ.get("OWL_WINDOW", "") == "random":
    window_random = 0x9E3779B97F4A7C15 ^ int(os.environ.get("OWL_WINDOW_SEED", "1"))

# Guarded by the graph's lock.
cdef PlanCache plan_cache
cdef PlannerCounters counters
cdef Canonical canonical
cdef vector[int] phases
cdef Window part


cdef size_t physical_memory():
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return <size_t>4 << 30


byte_bound = physical_memory() // 4


cdef void enqueue(Run* run) noexcept nogil:
    executors[run.device].submit(run)


# Hands over recorded nodes, in the order of recording, each exactly once. Under the graph's lock.
#
# A window across devices becomes one run per device and phase, where a phase ends with a transfer between devices. Runs
# are submitted phase by phase, in one order for the whole process, and wait on earlier ones only: no deadlock.
cdef void hand_over(const vector[Node*]& nodes) noexcept nogil:
    if nodes.empty():
        return
    cdef size_t i
    cdef uint32_t k
    cdef bint one_device = True
    for i in range(1, nodes.size()):
        if nodes[i].device != nodes[0].device:
            one_device = False
            break
    counters.windows += 1
    if one_device:
        submit(nodes)
        return
    cdef uint64_t mark = graph().new_mark()
    cdef int last_phase = 0
    cdef Node* source
    phases.assign(nodes.size(), 0)
    for i in range(nodes.size()):
        nodes[i].mark = mark
        nodes[i].index = <int32_t>i
        for k in range(nodes[i].n_inputs):
            source = nodes[i].inputs()[k]
            if source.mark == mark:
                phases[i] = max(phases[i], phases[source.index] + (source.device != nodes[i].device))
        last_phase = max(last_phase, phases[i])
    cdef int phase
    cdef size_t device
    for phase in range(last_phase + 1):
        for device in range(executors.size()):
            part.clear()
            for i in range(nodes.size()):
                if phases[i] == phase and nodes[i].device == device and nodes[i].state == State.recorded:
                    part.push_back(nodes[i])
            if not part.empty():
                submit(part)


# One device's nodes become a run. Under the graph's lock.
cdef void submit(const vector[Node*]& nodes) noexcept nogil:
    cdef size_t i
    cdef shared_ptr[Plan] plan
    canonical.describe(nodes, graph().new_mark())
    counters.nodes += nodes.size()
    counters.plans += 1
    plan = plan_cache.find(canonical)
    if plan.get() is NULL:
        plan = canonical.make_plan(nodes)
        plan.get().id = counters.plans
        compile_plan(plan.get(), dereference(kernel_table), fuse)
        plan_cache.insert(plan)
    else:
        counters.hits += 1
    plan.get().runs += 1
    counters.bytes_outside += plan.get().output_bytes
    counters.bytes_inside += plan.get().arena_bytes
    cdef Run* run = canonical.make_run(nodes, plan)
    cdef bint ready = await_dependencies(run, enqueue)
    for i in range(nodes.size()):
        nodes[i].state = State.submitted
        graph().hold(nodes[i])
    for i in range(nodes.size()):
        graph().release_inputs(nodes[i])
    for i in range(nodes.size()):
        # Nobody outside the plan will ever see it.
        if not nodes[i].live():
            nodes[i].state = State.dead
            counters.dead += 1
        graph().unhold(nodes[i])
    if ready:
        enqueue(run)


# Closes the open window of a stream and hands it over. Under the graph's lock.
cdef void close_window(RecordingStream* stream) noexcept nogil:
    cdef Window window
    cdef size_t i
    window.swap(stream.open)
    stream.open_bytes = 0
    purge(&window)
    hand_over(window)
    for i in range(window.size()):
        graph().unhold(window[i])


# After each record: closes the window at its bounds, and waits while the executor is too far behind.
cdef int relieve(RecordingStream* stream) except -1:
    global window_random
    if window_random:
        window_random ^= window_random << 13
        window_random ^= window_random >> 7
        window_random ^= window_random << 17
    elif stream.open.size() < node_bound and stream.open_bytes < byte_bound:
        return 0
    if window_random and window_random % 7 and stream.open.size() < node_bound:
        return 0
    with nogil:
        graph().mutex.lock()
        close_window(stream)
        graph().mutex.unlock()
    wait_for_room()
    return 0


cdef int backlog() noexcept nogil:
    cdef int worst = 0
    cdef size_t i
    graph().mutex.lock()
    for i in range(executors.size()):
        worst = max(worst, executors[i].backlog())
    graph().mutex.unlock()
    return worst


cdef int wait_for_room() except -1:
    cdef uint64_t seen
    cdef bint told = False
    while True:
        seen = progress().count()
        if backlog() <= run_bound:
            return 0
        if not told:
            about_to_block()
            told = True
        with nogil:
            progress().wait(seen, 50)
        PyErr_CheckSignals()


# Drops what native threads let go of. Called where the GIL is held and no lock.
cdef inline void drain() noexcept:
    if has_deferred_releases():
        release_deferred()
    if has_unobserved_failures():
        report_unobserved_failures()


cdef void release_deferred() noexcept:
    cdef vector[void*] objects = take_deferred_releases()
    cdef size_t i
    for i in range(objects.size()):
        Py_DECREF(<object>objects[i])
