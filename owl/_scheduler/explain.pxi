# What the planner did: the plans of the last windows.


def recent_plans():
    """The plans of the last windows, the newest last: dicts with `text`, `runs`, `bytes_outside` and `bytes_inside`."""
    cdef vector[shared_ptr[Plan]] plans
    cdef size_t i
    graph().mutex.lock()
    plan_cache.list(&plans)
    graph().mutex.unlock()
    out = []
    for i in range(plans.size()):
        out.append({"text": plans[i].get().explain().decode(), "runs": plans[i].get().runs, "id": plans[i].get().id,
                    "bytes_outside": plans[i].get().output_bytes, "bytes_inside": plans[i].get().arena_bytes})
    out.reverse()
    return out
