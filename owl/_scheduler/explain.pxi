# What the planner did, and would do: plain descriptions of plans, from which owl.explain makes words and drawings.

cdef tuple BORDERS = ("anchor", "bounds", "random", "demand", "wait_for_all", "pause")
cdef tuple RELEASES = ("settled", "next_cut", "idle", "demand", "wait_for_all", "pause")


cdef dict description(const shared_ptr[Plan]& plan, list sites):
    return {"plan": plan.get().explain().decode(), "device": device_names[plan.get().device], "sites": sites}


cdef list handed_over(uint64_t sequence):
    # The last of what was handed over, the oldest first; of one node only, unless `sequence` is 0.
    cdef vector[HandedOver] entries
    cdef HandedOver* entry
    cdef size_t i, k
    cdef bint wanted
    cdef list out = []
    graph().mutex.lock()
    trace.list(&entries)
    graph().mutex.unlock()
    for i in range(entries.size()):
        entry = &entries[i]
        wanted = sequence == 0
        for k in range(entry.nodes.size()):
            wanted = wanted or entry.nodes[k].sequence == sequence
        if not wanted:
            continue
        found = description(entry.plan, [site_location(entry.nodes[k].site) for k in range(entry.nodes.size())])
        found["window"] = entry.window
        found["border"] = BORDERS[<int>entry.border]
        found["release"] = RELEASES[<int>entry.release]
        found["known"] = entry.known
        found["asked_at"] = site_location(entry.asked_at) if entry.asked_at else None
        out.append(found)
    return out


# What a demand for a recorded node would hand over. Under the graph's lock.
cdef void find_needed(Node* node, Window* nodes) noexcept nogil:
    cdef const ClosedWindow* window = node.stream.waiting_window(node)
    cdef size_t i
    if window is NULL:
        graph().ancestors(&node, 1, nodes)
        return
    for i in range(window.nodes.size()):
        if window.nodes[i].state == State.recorded and window.nodes[i].stream == node.stream:
            nodes.push_back(window.nodes[i])


cdef list would_hand_over(NArray array):
    cdef Canonical asked
    cdef shared_ptr[Plan] plan
    cdef Window whole, part
    cdef vector[uint32_t] sites
    cdef bint known
    cdef size_t device, i
    cdef list out = []
    for device in range(executors.size()):
        part.clear()
        sites.clear()
        graph().mutex.lock()
        whole.clear()
        if array.node.state == State.recorded:
            find_needed(array.node, &whole)
        for i in range(whole.size()):
            if whole[i].device == device:
                part.push_back(whole[i])
                sites.push_back(whole[i].site)
        known = False
        if not part.empty():
            graph().pin(array.node)  # what is asked for is stored
            asked.describe(part, graph().new_mark(), fuse, stored_places)
            plan = plan_cache.find(asked)
            known = plan.get() is not NULL
            if not known:
                plan = asked.make_plan(part)
            graph().unpin(array.node)
        graph().mutex.unlock()
        if part.empty():
            continue
        if not known:
            compile_plan(plan.get(), dereference(kernel_table), fuse)
        found = description(plan, [site_location(sites[i]) for i in range(sites.size())])
        found["known"] = known
        out.append(found)
    return out


def explain_recent():
    """The plans that were handed over last, the oldest first: dicts for `owl.explain`."""
    return handed_over(0)


def explain_array(array):
    """The state of an array and the plans that computed it, or would compute it: for `owl.explain`."""
    if type(array) is not NArray:
        raise OwlTypeError(f"[explain] an owl array is wanted, not {type(array).__name__}")
    cdef NArray asked = <NArray>array
    graph().mutex.lock()
    cdef bint pending = asked.node.state == State.recorded
    cdef bint leaf = asked.node.op == Op.leaf
    cdef uint64_t sequence = asked.node.sequence
    graph().mutex.unlock()
    found = [] if leaf else would_hand_over(asked) if pending else handed_over(sequence)
    return {"leaf": leaf, "pending": pending, "plans": found}
