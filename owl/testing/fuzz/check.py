"""Runs a program under every setting of the planner and compares what was seen."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import owl
import owl.testing
from owl import _runtime
from owl.testing.fuzz.player import Player
from owl.testing.fuzz.program import Statement
from owl.testing.fuzz.trace import Step
from owl.testing.fuzz.writer import traced


@contextlib.contextmanager
def _afresh() -> Iterator[None]:
    _runtime.clear_plans()
    yield


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    was = _runtime.set_early_start(False)
    try:
        yield
    finally:
        _runtime.set_early_start(was)


SETTINGS: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "planned afresh": _afresh,
    "replayed": contextlib.nullcontext,
    "patient": _patient,
    "random windows 1": lambda: owl.testing.random_windows(1),
    "random windows 2": lambda: owl.testing.random_windows(2),
    "slow kernels": lambda: owl.testing.kernel_delay(5),
    "tiny windows": lambda: owl.testing.bounds(nodes=3, runs=1),
    "small windows": lambda: owl.testing.bounds(nodes=11),
}

SETTINGS_BESIDES = 3  # unfused, with faults, with little memory


def _compare(found: list[Any], wanted: list[Any], setting: str, may_fail: bool = False) -> None:
    assert len(found) == len(wanted), f"{setting}: {len(found)} values instead of {len(wanted)}"
    for number, (a, b) in enumerate(zip(found, wanted)):
        if isinstance(a, str):
            assert may_fail, f"{setting}: value {number} failed with {a}"
        else:
            assert a.shape == b.shape, f"{setting}: value {number} has shape {a.shape} instead of {b.shape}"
            assert a.tobytes() == b.tobytes(), f"{setting}: value {number} differs by {np.nanmax(np.abs(a - b))}"


@contextlib.contextmanager
def _event_loop(trace: Sequence[Step]) -> Iterator[asyncio.AbstractEventLoop | None]:
    """One loop for all plays of a trace, as making one takes longer than most plays; None where there are no tasks."""
    if all(step.kind != "tasks" for step in trace):
        yield None
        return
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class _Unobserved(io.TextIOBase):
    """A stderr that swallows owl's lines about exceptions that were never retrieved."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.other = sys.stderr

    def write(self, text: str) -> int:
        if text.startswith("owl: exception was never retrieved"):
            self.lines.append(text)
            return len(text)
        return self.other.write(text)

    def flush(self) -> None:
        self.other.flush()


def check(program: Sequence[Statement], fault: int = 0) -> None:
    """Runs a program under all settings; raises AssertionError where two disagree, or where native objects leak."""
    seed = fault
    trace, writer = traced(program, seed)
    unobserved = _Unobserved()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stderr(unobserved))
        stack.enter_context(owl.testing.assert_no_leaks())
        loop = stack.enter_context(_event_loop(trace))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "recording is too far ahead")  # of tasks that record much and never wait

        def play() -> list[Any]:
            return Player(loop).play(trace, seed)

        with owl.testing.unfused():
            wanted = play()
        unobserved.lines.clear()  # the last may be of an earlier program's faults: they come with a call that follows
        exact = writer.book.at_the_end()
        assert len(wanted) == len(exact)
        for value, numbers in zip(wanted, exact):
            assert not isinstance(value, str), f"unfused: {value}"
            numbers.check(value)
        for name, setting in SETTINGS.items():
            if name == "slow kernels" and fault % 4:
                continue  # it takes as long as all others together
            with setting():
                found = play()
            _compare(found, wanted, name)
        owl.testing.settle()
        assert not unobserved.lines, f"failures without faults: {unobserved.lines}"
        operations = owl.testing.operations()
        kind = "injected" if fault % 2 else "out_of_memory"
        with owl.testing.faults(operations[fault % len(operations)], kind=kind, skip=fault % 5, count=1 + fault % 3):
            found = play()
        _compare(found, wanted, "with faults", may_fail=True)
        with owl.testing.memory_limit(4096 * (1 + fault), beyond_current=True):
            try:
                found = play()
            except owl.OutOfMemoryError:  # of from_numpy, which copies at once
                found = wanted
        _compare(found, wanted, "with little memory", may_fail=True)


def check_specialized(program: Sequence[Statement], fault: int = 0) -> None:
    """Plays a program by the interpreter of a GPU, then by its programs' own kernels; raises where a bit differs.

    `OWL_CUDA_JIT_RUNS` has to be 1 or 2: then the plays that come first ask for all kernels.
    """
    trace, _ = traced(program, fault)
    with contextlib.ExitStack() as stack:
        stack.enter_context(owl.testing.assert_no_leaks())
        loop = stack.enter_context(_event_loop(trace))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "recording is too far ahead")
        with owl.testing.unfused():
            wanted = Player(loop).play(trace, fault)
        for turn in range(3):
            if turn == 2:
                owl.testing.specialized_kernels(wait=True)
            _compare(Player(loop).play(trace, fault), wanted, "interpreted" if turn < 2 else "by kernels of their own")
