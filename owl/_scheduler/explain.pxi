# What the planner did, and would do: plain descriptions of plans, from which owl.explain makes words and drawings.

cdef tuple CUT_REASONS = ("anchor", "bounds", "random", "request", "wait_for_all", "pause")
cdef tuple SUBMIT_REASONS = ("settled", "next_cut", "idle", "request", "wait_for_all", "pause")


# A plan in the classes of owl._explain.plan.
cdef object description(const shared_ptr[Plan]& shared, list sites, bint known, bint submitted):
    from owl._explain import plan as explained
    cdef const Plan* plan = shared.get()
    cdef const PlanNode* node
    cdef const Step* step
    cdef const Backend* backend = &scheduler().executors[plan.device].backend()
    cdef vector[Split] splits
    cdef StepForm form
    cdef size_t i
    with nogil:
        splits = find_splits(dereference(plan), backend.rules())
    inputs = [
        explained.Input(f"x{i}", shape_list(plan.inputs[i].shape), dtype_object(plan.inputs[i].dtype).name,
                        donatable=plan.inputs[i].donatable)
        for i in range(plan.inputs.size())
    ]
    operations = []
    for i in range(plan.nodes.size()):
        node = &plan.nodes[i]
        operands = list(node.inputs)
        call = explained.call(shown_name(dereference(node)).decode(), operands, node.scalar_mask,
                              list(shown_dimensions(dereference(node))))
        operations.append(explained.Operation(f"v{i}", shape_list(node.shape), dtype_object(node.dtype).name, call, operands,
                                              plan.root[i], explained.place(sites[i])))
    kernels = []
    for i in range(plan.steps.size()):
        step = &plan.steps[i]
        form = backend.form_of(dereference(step))
        kernels.append(explained.Kernel(step.name.decode(), list(step.operations), form.launches, form.specialized))
        if step.blocked_node >= 0:
            operations[step.blocked_node].blocked = True
    for i in range(splits.size()):
        kernels[splits[i].reader].splits.append(
            explained.Split(splits[i].source, <int>splits[i].reason, splits[i].node, splits[i].value))
    for i in range(plan.outputs.size()):
        output = explained.Output(plan.outputs[i].bytes)
        operation = operations[plan.outputs[i].node]
        operation.output = output
        if plan.outputs[i].donated_input >= 0:
            overwritten = inputs[plan.outputs[i].donated_input]
            output.written_over = overwritten.name
            overwritten.overwritten_by = operation.name
        if plan.outputs[i].alias_input >= 0:
            output.same_as = inputs[plan.outputs[i].alias_input].name
        if plan.outputs[i].alias_output >= 0:
            output.same_as = operations[plan.outputs[plan.outputs[i].alias_output].node].name
    found = explained.Plan(plan.id if submitted else 0, device_names[plan.device], known, inputs, operations, kernels,
                           plan.output_bytes, plan.arena_bytes, steps_together(dereference(plan)))
    found.complete(list(plan.rematerializable_nodes))
    return found


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
        sites = [site_location(entry.nodes[k].site) for k in range(entry.nodes.size())]
        asked_at = site_location(entry.cause.asked_at) if entry.cause.asked_at else None
        cause = (CUT_REASONS[<int>entry.cause.cut], SUBMIT_REASONS[<int>entry.cause.reason], asked_at)
        out.append((entry.window, cause, description(entry.plan, sites, entry.known, True)))
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
            if whole[i].runner == device:
                part.push_back(whole[i])
                sites.push_back(whole[i].site)
        known = False
        if not part.empty():
            graph().pin(array.node)  # what is asked for is stored
            asked.describe(part, graph().new_mark(), scheduler().fuse, scheduler().stored_places)
            plan = scheduler().plans.find(asked)
            known = plan.get() is not NULL
            if not known:
                plan = asked.begin_plan(part)
                asked.describe_nodes(part, plan.get())
            graph().unpin(array.node)
        graph().mutex.unlock()
        if part.empty():
            continue
        if not known:
            compile_plan(plan.get(), scheduler().executors[device].backend(), scheduler().fuse)
        out.append((0, None, description(plan, [site_location(sites[i]) for i in range(sites.size())], known, False)))
    return out


def explain_recent():
    """The plans that were submitted last, the oldest first, as (window, why, plan): for `owl.explain`."""
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
