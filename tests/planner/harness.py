"""Runs a loop as if it were a program of its own, under the planner's switches, and watches its second half."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import owl.testing
from owl import _runtime


class Steps:
    """Counts through the steps of a loop, and takes the planner's counters in the middle and at the end."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.middle: dict[str, int] = {}
        self.end: dict[str, int] = {}

    def __iter__(self) -> Iterator[int]:
        for step in range(self.count):
            if step == self.count // 2:
                self.middle = owl.testing.planner_counters()
            yield step
        self.end = owl.testing.planner_counters()

    def second_half(self, counter: str) -> int:
        return self.end[counter] - self.middle[counter]

    @property
    def hit_rate(self) -> float:
        return self.second_half("hits") / max(1, self.second_half("plans"))

    @property
    def stored_per_step(self) -> float:
        """Bytes of results that plans stored where others can see them."""
        return self.second_half("bytes_outside") / (self.count - self.count // 2)


def in_fresh_thread(run: Callable[[], Any]) -> Any:
    """A new thread records into a new stream: what an earlier loop taught the planner about this one's is gone."""
    result: list[Any] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            result.append(run())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


@contextlib.contextmanager
def by_recording_alone() -> Iterator[None]:
    """No early starts: what the planner does no longer depends on how busy the machine is."""
    was = _runtime.set_early_start(False)
    try:
        yield
    finally:
        _runtime.set_early_start(was)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    was = owl.get_num_threads()
    owl.set_num_threads(count)
    try:
        yield
    finally:
        owl.set_num_threads(was)


def assert_same_bits(found: list[Any], wanted: list[Any]) -> None:
    assert len(found) == len(wanted)
    for number, (a, b) in enumerate(zip(found, wanted)):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), f"result {number} differs"
