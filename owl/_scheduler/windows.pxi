# From windows to runs: closing, waiting until it is known what lives on, splitting by device, finding or compiling the plan,
# handing over, and back-pressure.

cdef int run_bound = 2                   # runs ahead of an executor before recording waits
cdef bint early_start = True             # closed windows stop waiting when their executor is idle; under the graph's lock
cdef bint fuse = setting("OWL_FUSE", "1", ("0", "1")) == "1"
cdef uint64_t window_random = 0          # OWL_WINDOW=random: seed of the generators that cut windows anywhere; 0: off
if setting("OWL_WINDOW", "", ("random",)):
    window_random = 0x9E3779B97F4A7C15 ^ (number_setting("OWL_WINDOW_SEED", 1) & 0xFFFFFFFF)

cdef extern from *:
    """
    namespace owl { namespace {
    // Never destroyed: a daemon thread may be handing over a window when static destructors run.
    PlanCache& plan_cache = *new PlanCache;
    Canonical& canonical = *new Canonical;
    Expectations& expectations = *new Expectations;
    WindowHistory& history = *new WindowHistory;
    StoredPlaces& stored_places = *new StoredPlaces;
    Trace& trace = *new Trace;
    } }
    """
    # Guarded by the graph's lock.
    PlanCache plan_cache "owl::plan_cache"
    Canonical canonical "owl::canonical"
    Expectations expectations "owl::expectations"
    WindowHistory history "owl::history"
    StoredPlaces stored_places "owl::stored_places"
    Trace trace "owl::trace"

cdef PlannerCounters counters  # likewise


cdef void enqueue(Run* run) noexcept nogil:
    executors[run.device].submit(run)


# Hands over recorded nodes, in the order of recording, each exactly once. Under the graph's lock, and each node is held by
# the window that it lies in. `may_leave`: a demand forces it, while names of the user's still stand for values that nobody
# will ever read. `unhold`: the caller's holds on the nodes are let go of.
cdef void hand_over(const Window& nodes, bint may_leave, bint unhold) noexcept nogil:
    cdef size_t i
    if nodes.empty():
        return
    # A window of one device that needs nothing from elsewhere, as most are.
    if canonical.describe(nodes, graph().new_mark(), may_leave and fuse, stored_places):
        counters.windows += 1
        submit_described(nodes, unhold)
        return
    hand_over_in_parts(nodes, may_leave)
    if unhold:
        for i in range(nodes.size()):
            graph().unhold(nodes[i])


cdef void hand_over_in_parts(const Window& nodes, bint may_leave) noexcept nogil:
    cdef Window fresh, closure, before
    cdef uint64_t mark = graph().new_mark()
    cdef size_t i
    cdef uint32_t k
    cdef Node* source
    cdef bint complete = True
    cdef bint interleaved = False
    # A value left over by an earlier demand may still stand in its window as well, and an earlier chunk of the same window
    # may have taken it along: each goes once.
    for i in range(nodes.size()):
        if nodes[i].state != State.recorded or nodes[i].mark == mark:
            continue
        nodes[i].mark = mark
        fresh.push_back(nodes[i])
        for k in range(nodes[i].n_inputs):
            source = nodes[i].inputs()[k]
            if source.mark != mark and source.state == State.recorded:
                complete = False
    if fresh.empty():
        return
    if not complete:
        # Something they need was recorded elsewhere: by another stream, or left over by an earlier plan.
        graph().ancestors(fresh.data(), <int>fresh.size(), &closure)
        mark = graph().new_mark()
        for i in range(fresh.size()):
            fresh[i].mark = mark
        for i in range(closure.size()):
            if closure[i].mark != mark:
                before.push_back(closure[i])
        for i in range(before.size()):
            for k in range(before[i].n_inputs):
                interleaved = interleaved or before[i].inputs()[k].mark == mark
        # Streams that read one another's values within a window have no first among them.
        if interleaved:
            split_by_device(closure, may_leave)
            return
        split_by_device(before, may_leave)
    split_by_device(fresh, may_leave)


# A window across devices becomes one run per device and phase, where a phase ends with a transfer between devices. Runs
# are submitted phase by phase, in one order for the whole process, and wait on earlier ones only: no deadlock.
cdef void split_by_device(const vector[Node*]& nodes, bint may_leave) noexcept nogil:
    cdef size_t i
    cdef uint32_t k
    cdef bint one_device = True
    for i in range(1, nodes.size()):
        if nodes[i].device != nodes[0].device:
            one_device = False
            break
    counters.windows += 1
    if one_device:
        submit(nodes, may_leave)
        return
    cdef uint64_t mark = graph().new_mark()
    cdef int last_phase = 0
    cdef Node* source
    cdef vector[int] phases
    cdef Window part
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
                submit(part, False)


# One device's nodes become a run. Under the graph's lock.
cdef void submit(const Window& nodes, bint may_leave) noexcept nogil:
    cdef size_t i
    for i in range(nodes.size()):
        if nodes[i].leftover:
            nodes[i].leftover = False
            counters.recomputed += 1
            stored_places.add(nodes[i])
    canonical.describe(nodes, graph().new_mark(), may_leave and fuse, stored_places)
    submit_described(nodes, False)


# The nodes that `canonical` describes become a run. Under the graph's lock.
cdef void submit_described(const Window& nodes, bint unhold) noexcept nogil:
    cdef size_t i
    cdef Node* node
    cdef shared_ptr[Plan] plan
    counters.nodes += nodes.size()
    counters.plans += 1
    plan = plan_cache.find(canonical)
    cdef bint known = plan.get() is not NULL
    if not known:
        plan = canonical.make_plan(nodes)
        plan.get().id = counters.plans
        compile_plan(plan.get(), dereference(kernel_table), fuse)
        plan_cache.insert(plan)
    else:
        counters.hits += 1
    trace.add(counters.windows, known, plan, nodes)
    counters.bytes_outside += plan.get().output_bytes
    counters.bytes_inside += plan.get().arena_bytes
    cdef Run* run = canonical.make_run(nodes, plan)
    cdef bint ready = await_dependencies(run, enqueue)
    for i in range(plan.get().leftovers.size()):
        node = nodes[plan.get().leftovers[i]]
        node.state = State.recorded
        node.leftover = True
        graph().hold(node)
        node.stream.leftovers.push_back(node)
        counters.leftovers += 1
    # The last first: when a node's turn comes, those of the plan that read it have let go of it.
    i = nodes.size()
    while i:
        i -= 1
        node = nodes[i]
        if not node.leftover:
            graph().release_inputs(node)
            if not node.live():  # nobody outside the plan will ever see it
                node.state = State.dead
                counters.dead += 1
        if unhold:
            graph().unhold(node)
    if ready:
        enqueue(run)


# Hands over a closed window. Under the graph's lock. `ripe`: it waited as long as it may, so what is dead now will be
# dead next time, and is worth waiting for.
cdef void run_window(RecordingStream* stream, ClosedWindow* window, bint ripe, bint demanded) noexcept nogil:
    cdef size_t begin = 0
    cdef size_t end
    cdef Window chunk
    if ripe:
        expectations.remember(dereference(window))
    if history.is_regular(purge(stream, &window.nodes)):
        hand_over(window.nodes, demanded, True)
        return
    while begin < window.nodes.size():
        end = chunk_end(window.nodes, begin)
        chunk.assign(window.nodes.begin() + begin, window.nodes.begin() + end)
        begin = end
        hand_over(chunk, False, True)


# Under the graph's lock.
cdef void run_first_waiting(RecordingStream* stream, bint ripe, bint demanded) noexcept nogil:
    cdef ClosedWindow window
    window = move(stream.waiting.front())
    stream.waiting.erase(stream.waiting.begin())
    trace.border = window.border
    run_window(stream, &window, ripe, demanded)


# Closes a part of the open window: it waits until it has settled, at the latest until the next cut or until its executor
# has nothing to do. Under the graph's lock.
cdef void close_window(RecordingStream* stream, Window* nodes) noexcept nogil:
    cdef ClosedWindow window
    window.nodes.swap(dereference(nodes))
    window.border = trace.border
    window.close(stream, &expectations)
    if window.nodes.empty():
        return
    cdef bint idle = early_start and executors[window.nodes[0].device].idle()
    stream.waiting.push_back(move(window))
    while stream.waiting.size() > 1:
        trace.release = Release.next_cut
        run_first_waiting(stream, True, False)
    if idle:
        trace.release = Release.idle
        run_first_waiting(stream, False, False)


# Hands over all that a stream has recorded. Under the graph's lock.
cdef void flush(RecordingStream* stream) noexcept nogil:
    cdef Window window
    cdef size_t i
    trace.release = Release.wait_for_all
    while not stream.waiting.empty():
        run_first_waiting(stream, False, False)
    window.swap(stream.open)
    stream.open_bytes = 0
    purge(stream, &window)
    purge_leftovers(stream)
    window.insert(window.end(), stream.leftovers.begin(), stream.leftovers.end())
    stream.leftovers.clear()
    sort_by_sequence(&window)
    trace.border = Border.wait_for_all
    hand_over(window, False, True)


# Hands over a stream's windows, the open one included. Under the graph's lock.
cdef void start_open_window(RecordingStream* stream) noexcept nogil:
    trace.release = Release.pause
    while not stream.waiting.empty():
        run_first_waiting(stream, False, False)
    if stream.open.empty():
        return
    trace.border = Border.pause
    close_window(stream, &stream.open)
    stream.open_bytes = 0
    trace.release = Release.pause
    while not stream.waiting.empty():
        run_first_waiting(stream, False, False)


def start_recorded():
    """Hands over what this thread or task has recorded, without waiting for it; nothing happens if that is nothing.

    For whoever is about to wait for something else than owl, such as the next batch: the window that is still open would
    otherwise stay so meanwhile, with the devices idle. Like any end of a window it changes no value.
    """
    if streams.empty():
        return
    cdef RecordingStream* stream = current_stream()
    drain()
    with nogil:
        graph().mutex.lock()
        start_open_window(stream)
        graph().mutex.unlock()


# Cuts the open window at the place that the detector found. Under the graph's lock.
cdef void cut_window(RecordingStream* stream) noexcept nogil:
    cdef size_t first = stream.open.size()
    cdef size_t i
    cdef Window older
    # Adopted nodes have no place of their own; they go with what uses them.
    while first and (stream.open[first - 1].position >= stream.cut or not stream.open[first - 1].position):
        first -= 1
    stream.note_cut(stream.cut)
    stream.cut = 0
    older.assign(stream.open.begin(), stream.open.begin() + first)
    stream.open.erase(stream.open.begin(), stream.open.begin() + first)
    stream.open_bytes = 0
    for i in range(stream.open.size()):
        stream.open_bytes += stream.open[i].bytes()
    trace.border = Border.anchor
    close_window(stream, &older)
    purge_leftovers(stream)


cdef void purge_leftovers(RecordingStream* stream) noexcept nogil:
    cdef size_t kept = 0
    cdef size_t i
    cdef Node* node
    for i in range(stream.leftovers.size()):
        node = stream.leftovers[i]
        if node.state == State.recorded:
            stream.leftovers[kept] = node
            kept += 1
        else:
            graph().unhold(node)
    stream.leftovers.resize(kept)


# What the executors call when they have been idle for a while: nothing that was closed needs to wait any longer.
cdef void start_waiting_windows() noexcept nogil:
    cdef size_t i
    graph().mutex.lock()
    trace.release = Release.idle
    for i in range(streams.size() if early_start else 0):
        while not streams[i].waiting.empty():
            run_first_waiting(streams[i], False, False)
    graph().mutex.unlock()


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


# When recording calls for attention: hands over what has settled, cuts, keeps the bounds, and waits while the executors
# are too far behind.
cdef int attend(RecordingStream* stream) except -1:
    cdef bint random_cut = window_random != 0 and cut_at_random(stream)
    if not random_cut and not stream.attention:
        return 0
    with nogil:
        graph().mutex.lock()
        stream.attention = False
        while not stream.waiting.empty() and stream.waiting.front().known and stream.waiting.front().settled():
            trace.release = Release.settled
            run_first_waiting(stream, True, False)
        if stream.cut:
            cut_window(stream)
        if (random_cut or stream.open.size() >= window_bounds().nodes.load()
                or stream.open_bytes >= window_bounds().bytes.load()):
            trace.border = Border.random if random_cut else Border.bounds
            close_window(stream, &stream.open)
            stream.open_bytes = 0
        graph().mutex.unlock()
    return wait_for_room()


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
        if backlog() <= run_bound or (not told and goes_on_without_room()):
            return 0
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
