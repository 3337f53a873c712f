# What the planner did, and would do: plain descriptions of plans, from which owl.explain makes words and drawings.

cdef tuple CUT_REASONS = ("anchor", "bounds", "random", "request", "wait_for_all", "pause")
cdef tuple SUBMIT_REASONS = ("settled", "next_cut", "idle", "request", "wait_for_all", "pause")


cdef dict description(const shared_ptr[Plan]& plan, list sites):
    return {"plan": plan.get().explain().decode(), "device": device_names[plan.get().device], "sites": sites}


cdef list submitted(uint64_t sequence):
    # The last submissions, the oldest first; of one node only, unless `sequence` is 0.
    cdef vector[Submission] entries
    cdef Submission* entry
    cdef size_t i, k
    cdef bint wanted
    cdef list out = []
    graph().mutex.lock()
    scheduler().trace.list(&entries)
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
        found["cut"] = CUT_REASONS[<int>entry.cause.cut]
        found["reason"] = SUBMIT_REASONS[<int>entry.cause.reason]
        found["known"] = entry.known
        found["asked_at"] = site_location(entry.cause.asked_at) if entry.cause.asked_at else None
        out.append(found)
    return out


cdef list would_submit(NArray array):
    cdef Canonical asked
    cdef shared_ptr[Plan] plan
    cdef Window whole, part
    cdef vector[uint32_t] sites
    cdef bint known
    cdef size_t device, i
    cdef list out = []
    for device in range(scheduler().executors.size()):
        part.clear()
        sites.clear()
        graph().mutex.lock()
        whole.clear()
        if array.node.state == State.recorded:
            scheduler().find_needed(array.node, &whole)
        for i in range(whole.size()):
            if whole[i].device == device:
                part.push_back(whole[i])
                sites.push_back(whole[i].site)
        known = False
        if not part.empty():
            graph().pin(array.node)  # what is asked for is stored
            asked.describe(part, graph().new_mark(), scheduler().fuse, scheduler().stored_places)
            plan = scheduler().plans.find(asked)
            known = plan.get() is not NULL
            if not known:
                plan = asked.make_plan(part)
            graph().unpin(array.node)
        graph().mutex.unlock()
        if part.empty():
            continue
        if not known:
            compile_plan(plan.get(), dereference(scheduler().backend), scheduler().fuse)
        found = description(plan, [site_location(sites[i]) for i in range(sites.size())])
        found["known"] = known
        out.append(found)
    return out


def explain_recent():
    """The plans that were submitted last, the oldest first: dicts for `owl.explain`."""
    return submitted(0)


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
    found = [] if leaf else would_submit(asked) if pending else submitted(sequence)
    return {"leaf": leaf, "pending": pending, "plans": found}
