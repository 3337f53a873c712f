"""Why kernels were not fused, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owl._explain.plan import Plan

# In the order of SplitReason. {reader} is the operation that reads, {source} the one that made what it reads.
REASONS = (
    "",
    "nothing shares the pass of {source}",
    "{reader} is a kernel of its own",
    "{reader} reads whole operands, not element by element",
    "cuBLAS computes the whole product",
    "a kernel has one product",
    "after a product, a sum over columns is a kernel of its own on a GPU",
    "only a sum over the columns of a matrix shares the pass of its operand",
    "a sum is complete only when its kernel ends",
    "{value} is read in another shape than it is made in",
    "dtypes differ",
    "a cast begins a kernel of its own",
    "too many operations for one kernel",
    "too many inputs for one kernel",
    "too many numbers for one kernel",
    "too many sums for one kernel",
    "a third kernel comes between them",
    "{value} is needed elsewhere too",
    "a convolution's pass takes a relu and a pooling alone",
    "the convolution's kernel cannot pool in this way",
    "the gradient of a pooling is a kernel of its own on a GPU",
)


def not_fused(plan: Plan, number: int) -> list[str]:
    """A line for each reason why a kernel is not one with those that it reads from."""
    sources: dict[str, list[int]] = {}
    for split in plan.kernels[number].splits:
        reader, value = plan.operations[split.operation], plan.operations[split.value]
        names = {"reader": _name(reader.call), "source": _name(value.call), "value": value.name}
        sources.setdefault(REASONS[split.reason].format(**names), []).append(split.source)
    return [f"not fused with {_kernels(sorted(found))}: {why}" for why, found in sources.items()]


def _name(call: str) -> str:
    return call.partition("(")[0]


def _kernels(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"kernel {numbers[0]}"
    return f"kernels {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
