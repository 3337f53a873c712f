"""A plan as a reader wants it: which kernel computes what, from where, and what became of everything else."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import PurePath

_CUT_REASONS = {
    "anchor": "cut where the loop came round",
    "bounds": "cut at the bounds of a window",
    "random": "cut at random (OWL_WINDOW=random)",
}
_SUBMIT_REASONS = {
    "settled": "handed over once settled",
    "next_cut": "handed over at the next cut",
    "idle": "handed over because the executor was idle",
    "request": "handed over by a demand",
    "wait_for_all": "handed over by wait_for_all",
    "pause": "handed over when recording paused",
}


class Fate(enum.Enum):
    """What became of an operation."""

    computed = "computed"
    absorbed = "absorbed"  # its consumer reads its operand in place
    shared = "shared"  # the same buffer as another value
    left_over = "left over"  # not stored; computed again if somebody asks
    dropped = "dropped"  # nobody needed it


@dataclass
class Array:
    """A value of a plan, or an input."""

    name: str
    shape: list[int]
    dtype: str

    @property
    def type(self) -> str:
        """Shape, and dtype where it is not float32."""
        return f"{self.shape}" if self.dtype == "float32" else f"{self.shape} {self.dtype}"


@dataclass
class Input(Array):
    """A value from outside a plan."""

    donatable: bool
    overwritten_by: str = ""


@dataclass
class Output:
    """Where a stored value lies: `bytes` of its own, or in the buffer of another one."""

    bytes: int
    written_over: str = ""
    same_as: str = ""


@dataclass
class Operation(Array):
    """One recorded operation and its value."""

    call: str
    operands: list[int]  # operations from 0 on; input k is ~k
    root: int  # the operation or input in whose buffer the value lies
    site: str
    fate: Fate = Fate.dropped
    output: Output | None = None
    kernel: int = -1
    blocked: bool = False  # the value stays in blocks of channels, from one convolution to the next


@dataclass
class Split:
    """Why a kernel does not share the pass of one that it reads from."""

    source: int  # that kernel
    reason: int  # as a position in owl._explain.splits.REASONS
    operation: int  # the one that reads
    value: int  # and the one that made what it reads


@dataclass
class Kernel:
    """One pass over memory."""

    name: str
    operations: list[int]
    launches: int = 1
    specialized: bool = False  # its program has a kernel of its own
    splits: list[Split] = field(default_factory=list)
    absorbed: list[int] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)  # values of other kernels, and inputs


@dataclass
class Plan:
    """What a window, or its part on one device, was compiled to."""

    number: int
    device: str
    known: bool
    inputs: list[Input]
    operations: list[Operation]
    kernels: list[Kernel]
    bytes_outside: int
    bytes_inside: int
    together: int = 0  # so many of the first kernels were launched as a graph
    alone: bool = True  # no other device computes a part of the window

    def having(self, fate: Fate) -> list[Operation]:
        """The operations of which this became."""
        return [operation for operation in self.operations if operation.fate is fate]

    def array(self, reference: int) -> Array:
        """An operation's value, or an input."""
        return self.operations[reference] if reference >= 0 else self.inputs[~reference]

    def complete(self, rematerializable: list[int]) -> None:
        """Finds out what became of each operation, and what each kernel reads."""
        _settle_fates(self, rematerializable)
        _connect(self)

    @property
    def title(self) -> str:
        """Number, device, size, and whether the plan was known."""
        number = f"plan {self.number}" if self.number else "plan"
        counts = f"{_count(len(self.operations), 'operation')} in {_count(len(self.kernels), 'kernel')}"
        news = f", {'known' if self.known else 'compiled'}" if self.number else ""
        return f"{number} on {self.device}: {counts}{news}"

    def head(self, number: int) -> str:
        """Number and name of a kernel, and where it runs if that is not clear, or how if that is known."""
        kernel = self.kernels[number]
        where = "" if self.alone else f" on {self.device}"
        launches = f", {kernel.launches} launches" if kernel.launches > 1 else ""
        return f"kernel {number}{where}: {kernel.name}{', specialized' if kernel.specialized else ''}{launches}"

    @property
    def graph(self) -> str:
        """Which kernels were launched as a graph; empty if none were."""
        return f"{_count(self.together, 'kernel')} in a graph: 0 to {self.together - 1}" if self.together else ""

    @property
    def footer(self) -> str:
        """The bytes that it stores."""
        return f"stored outside: {self.bytes_outside:,} bytes; inside: {self.bytes_inside:,} bytes"


@dataclass
class Window:
    """What was handed over at one time."""

    title: str
    plans: list[Plan]


Cause = tuple[str, str, tuple[str, int] | None]  # of the cut, of the submission, and the line that asked


def windows(submissions: list[tuple[int, Cause | None, Plan]]) -> list[Window]:
    """Windows in the order in which they were submitted, from the plans of their parts."""
    found: dict[int, Window] = {}
    for number, cause, plan in submissions:
        if number not in found:
            found[number] = Window(_title(number, cause), [])
        found[number].plans.append(plan)
    for window in found.values():
        for plan in window.plans:
            plan.alone = all(other.device == plan.device for other in window.plans)
    return list(found.values())


def _title(number: int, cause: Cause | None) -> str:
    if cause is None:
        return "window: still recorded; a demand would hand it over now"
    cut, reason, asked_at = cause
    why = [_CUT_REASONS[cut]] if cut in _CUT_REASONS else []
    why.append(_SUBMIT_REASONS[reason])
    if reason == "request" and asked_at:
        why[-1] += f" ({place(asked_at)})"
    return f"window {number}: {', '.join(why)}"


def _settle_fates(plan: Plan, rematerializable: list[int]) -> None:
    for number, kernel in enumerate(plan.kernels):
        for i in kernel.operations:
            plan.operations[i].fate = Fate.computed
            plan.operations[i].kernel = number
    # What a kernel reads through, or an output stands for, was neither computed nor dropped.
    needed = [i for i, operation in enumerate(plan.operations) if operation.output or operation.fate is Fate.computed]
    seen = set(needed)
    while needed:
        i = needed.pop()
        operation = plan.operations[i]
        if operation.fate is Fate.dropped:
            operation.fate = Fate.absorbed if operation.root == i else Fate.shared
        for reference in operation.operands:
            if reference >= 0 and reference not in seen:
                seen.add(reference)
                needed.append(reference)
    for i in rematerializable:
        plan.operations[i].fate = Fate.left_over


def _connect(plan: Plan) -> None:
    for number, kernel in enumerate(plan.kernels):
        for i in kernel.operations:
            for reference in plan.operations[i].operands:
                source, through = _resolve(plan, reference)
                kernel.absorbed += [step for step in through if step not in kernel.absorbed]
                computed_here = source >= 0 and plan.operations[source].kernel == number
                if not computed_here and source not in kernel.reads:
                    kernel.reads.append(source)


def _resolve(plan: Plan, reference: int) -> tuple[int, list[int]]:
    """The value or input that is really read, and the absorbed operations on the way to it."""
    through = []
    while reference >= 0 and plan.operations[reference].kernel < 0:
        operation = plan.operations[reference]
        if operation.root != reference:
            reference = operation.root
        else:
            through.append(reference)
            reference = operation.operands[0]
    return reference, through


def call(name: str, references: list[int], numbers: int, dimensions: list[int]) -> str:
    """An operation as a user would write it; bit i of `numbers`: operand i is a number."""
    operands = [f"v{ref}" if ref >= 0 else f"x{~ref}" for ref in references]
    for position in range(numbers.bit_length()):
        if numbers >> position & 1:
            operands.insert(position, "number")
    if dimensions:
        operands.append(f"{dimensions}")
    return f"{name}({', '.join(operands)})"


def place(site: tuple[str, int]) -> str:
    """A line of a program, without folders."""
    file, line = site
    return f"{PurePath(file).name}:{line}" if line else file


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
