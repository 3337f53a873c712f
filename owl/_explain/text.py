"""Plans in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owl._explain.plan import Fate
from owl._explain.splits import not_fused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from owl._explain.plan import Operation, Plan, Window


def render(windows: list[Window], remark: str) -> str:
    """One line per thing, indented by what it belongs to. A plan that ran several times is told once."""
    lines = [remark] if remark else []
    told: set[int] = set()
    for window in windows:
        lines.append(window.title)
        for plan in window.plans:
            if plan.number in told:
                lines.append(f"  {plan.title}, told above")
                continue
            if plan.number:
                told.add(plan.number)
            lines += [f"  {line}" for line in _plan(plan)]
    return "\n".join(lines)


def _plan(plan: Plan) -> Iterator[str]:
    yield plan.title
    for source in plan.inputs:
        remark = ", nobody else needs it" if source.donatable else ""
        if source.overwritten_by:
            remark = f", overwritten by {source.overwritten_by}"
        yield f"  input {source.name} {source.type}{remark}"
    if plan.graph:
        yield f"  {plan.graph}"
    for number, kernel in enumerate(plan.kernels):
        fused = f", {len(kernel.operations)} operations fused" if len(kernel.operations) > 1 else ""
        yield f"  {plan.head(number)}{fused}"
        for i in kernel.absorbed:
            yield f"    {_operation(plan.operations[i])}, read in place"
        for i in kernel.operations:
            yield f"    {_operation(plan.operations[i])}{_storage(plan.operations[i])}"
        yield from (f"    {line}" for line in not_fused(plan, number))
    for operation in plan.having(Fate.shared):
        yield f"  shared: {_operation(operation)}, the buffer of {plan.array(operation.root).name}{_storage(operation)}"
    for operation in plan.having(Fate.left_over):
        yield f"  left over: {_operation(operation)}"
    for operation in plan.having(Fate.dropped):
        yield f"  dropped: {_operation(operation)}"
    yield f"  {plan.footer}"


def _operation(operation: Operation) -> str:
    return f"{operation.name} = {operation.call} {operation.type} at {operation.site}"


def _storage(operation: Operation) -> str:
    if operation.blocked:
        return ", in blocks of channels"
    if operation.output is None:
        return ""
    if operation.output.written_over:
        return f", stored over {operation.output.written_over}"
    if operation.output.same_as:
        return f", stored as {operation.output.same_as}"
    return ", stored"
