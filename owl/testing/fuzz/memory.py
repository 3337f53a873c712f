"""The oracle of programs that run with little memory: a value may fail only where its program needs more than there is.

Owl computes later than a program records, and in another order. So the memory that a value may need is counted over all
of the time in which it can be computed: from its recording, or that of an operand which was not finished then, until it
is looked at. At each moment that is what handles hold, what recorded operations may still read, and what the statement
of that moment needs besides. The last is measured, by running the statements one by one.
"""

from __future__ import annotations

import contextlib
import gc
import io
from collections.abc import Sequence
from random import Random
from typing import Any

import owl
import owl.testing
from owl import _runtime
from owl.testing.fuzz.player import Player
from owl.testing.fuzz.program import Statement
from owl.testing.fuzz.trace import Step
from owl.testing.fuzz.worlds import devices
from owl.testing.fuzz.writer import traced

# With these a program is not one thread on one device, or what it holds is not known.
BEYOND = ("threads", "tasks", "device", "promise", "team")
BLOCK = 64  # bytes: the least that a value takes


def foreseeable(trace: Sequence[Step]) -> bool:
    """Whether the memory that a program needs can be counted."""
    return all(step.kind not in BEYOND for step in trace)


def _room(array: owl.NArray) -> int:
    size = array.size * array.dtype.itemsize
    return size + size // 8 + BLOCK  # blocks come in eight sizes to a doubling


class _Tidy(Player):
    """Holds no more arrays than its handles tell."""

    def tidy(self, step: Step) -> None:
        while self.ends:
            self.ends.pop()()
        if step.kind in ("cycle", "error"):
            self.errors.clear()
            gc.collect()


class _Measured(_Tidy):
    """Computes after every statement; notes what each needs besides what was there."""

    def __init__(self) -> None:
        super().__init__()
        self.needs: list[int] = []

    def measure(self, trace: Sequence[Step], seed: int) -> bool:
        """False if an array turns out to lie on another device."""
        owl.set_device(devices()[0])
        owl.seed(seed)
        seen: list[Any] = []
        for step in trace:
            owl.testing.trim_memory()
            before = _runtime.memory_info()["in_use"]
            self.step(step, seen)
            self.tidy(step)
            owl.wait_for_all()
            need = _runtime.memory_info()["peak"] - before
            self.needs.append(need + need // 8 + 16 * BLOCK)
            if any(array.device != devices()[0] for array in [*self.arrays.values(), *self.kept]):
                return False
        return True


class Frugal(_Tidy):
    """Plays with little memory, and refuses to believe in a failure that its limit does not explain.

    `intruders`: now and then an operation is recorded between two statements that no limit leaves room for.
    """

    def __init__(self, needs: Sequence[int], limit: int, intruders: Random | None = None) -> None:
        super().__init__()
        self.needs = needs
        self.limit = limit
        self.intruders = intruders
        self.too_large: list[owl.NArray] = []
        self.totals: list[int] = []  # at each statement: the bytes that may be needed
        self.begins: dict[int, int] = {}  # of each array: the statement from which on it may be computed
        self.dropped = 0  # bytes that no handle holds, and recorded operations may still read

    def play(self, trace: Sequence[Step], seed: int) -> list[Any]:
        owl.set_device(devices()[0])
        owl.seed(seed)
        seen: list[Any] = []
        for number, step in enumerate(trace):
            before = {x: array for x, array in self.arrays.items() if step.kind in ("drop", "update")}
            self.intrude()
            begin = min([self.begin_of(x, number) for x in step.inputs], default=number)
            if step.kind == "update":
                self.dropped += _room(before[step.inputs[0]])
            elif step.kind == "drop":
                self.dropped += _room(before[step.target])
            before.clear()
            self.totals.append(self.total(self.needs[number]))
            looks = len(seen)
            self.step(step, seen)
            self.tidy(step)
            if step.kind in ("make", "update"):
                self.begins[step.inputs[0] if step.kind == "update" else step.target] = begin
            self.totals[-1] = max(self.totals[-1], self.total(0))
            for value in seen[looks:]:
                self.believe(value, step.target)
            if step.kind == "wait":
                self.dropped = 0
        owl.wait_for_all()
        for x, array in sorted(self.arrays.items()):
            self.believe(self.look(array), x)
        for array in self.too_large:
            assert self.look(array) == "OutOfMemoryError", "little memory: there was room for what is too large"
        return seen

    def intrude(self) -> None:
        if self.intruders is None or self.intruders.random() > 0.2:
            return
        array = self.intruders.choice([None, *self.arrays.values()])
        size = 1 + (_runtime.memory_info()["limit"] >> 2)
        if array is None:
            large = owl.ones([size]) * 2.0
        else:
            large = owl.ones([size], dtype=array.dtype) + array.sum().reshape([1])
            self.dropped += _room(array) + 16 * BLOCK
        if self.intruders.random() < 0.5:
            self.too_large.append(large)

    def begin_of(self, x: int, number: int) -> int:
        return number if self.arrays[x].state == "done" else self.begins.get(x, 0)

    def total(self, besides: int) -> int:
        arrays = [*self.arrays.values(), *self.kept]
        held = {id(array): _room(array) for array in arrays if array.state != "failed"}
        return sum(held.values()) + self.dropped + besides

    def believe(self, value: Any, x: int) -> None:
        if not isinstance(value, str):
            return
        begin = self.begins.get(x, 0)
        most = max(self.totals[begin:])
        assert most > self.limit, (
            f"little memory: array {x} failed with {value}, though {most} of {self.limit} bytes were needed at most"
        )


def check_memory(program: Sequence[Statement], fault: int = 0) -> None:
    """Plays a program in a part of the memory that it needs, and in enough beside operations that are too large.

    Raises AssertionError if a failure is unexplained, or where native objects leak. A program whose need of memory is
    not countable passes.
    """
    trace, _ = traced(program, fault)
    with contextlib.redirect_stderr(io.StringIO()), owl.testing.assert_no_leaks():  # failures are told there
        if foreseeable(trace):
            _check(trace, fault)


def _check(trace: Sequence[Step], seed: int) -> None:
    measured = _Measured()
    with owl.testing.unfused():
        if not measured.measure(trace, seed):
            return
    needs = measured.needs
    del measured
    plenty = Frugal(needs, 1 << 40)
    plenty.play(trace, seed)
    most = max(plenty.totals, default=0) + BLOCK
    del plenty
    gc.collect()
    for limit, intruders in (most * (seed + 1) // 260, None), (2 * most, Random(seed)):
        with owl.testing.memory_limit(limit, beyond_current=True):
            try:
                Frugal(needs, limit, intruders).play(trace, seed)
            except owl.OutOfMemoryError:  # of from_numpy, which copies at once
                assert intruders is None, "little memory: there was room for what is copied in"
        gc.collect()
