"""Where an epoch stands: which positions were delivered, as JSON and back."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from owl.aio.pipeline.errors import PipelineError

VERSION = 1


class Ledger:
    """A set of positions kept as disjoint ascending ranges; a prefix, as ordered pipelines deliver, is one range."""

    def __init__(self, ranges: Iterable[Iterable[int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in ranges:
            self.add_range(start, stop)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __len__(self) -> int:
        return sum(self._stops) - sum(self._starts)

    def __contains__(self, position: int) -> bool:
        at = bisect_right(self._starts, position) - 1
        return at >= 0 and position < self._stops[at]

    def ranges(self) -> list[list[int]]:
        return [list(pair) for pair in zip(self._starts, self._stops, strict=True)]

    def copy(self) -> Ledger:
        return Ledger(self.ranges())

    def add(self, mark: Any) -> None:
        """A position, or a tuple of ranges."""
        if isinstance(mark, tuple):
            for start, stop in mark:
                self.add_range(start, stop)
        else:
            self.add_range(mark, mark + 1)

    def add_all(self, marks: Sequence) -> None:
        """Several marks; those of a range at once."""
        if type(marks) is range and marks.step == 1:
            if marks:
                self.add_range(marks.start, marks.stop)
            return
        for mark in marks:
            self.add(mark)

    def add_range(self, start: int, stop: int) -> None:
        starts, stops = self._starts, self._stops
        if stops and stops[-1] == start:
            stops[-1] = stop
            return
        low = bisect_right(stops, start - 1)
        high = bisect_right(starts, stop)
        if low < high:
            start, stop = min(start, starts[low]), max(stop, stops[high - 1])
        starts[low:high] = [start]
        stops[low:high] = [stop]

    def gaps(self, length: int) -> Iterator[tuple[int, int]]:
        """The ranges below ``length`` that are missing."""
        at = 0
        for start, stop in zip(self._starts, self._stops, strict=True):
            if at < start:
                yield at, min(start, length)
            at = stop
        if at < length:
            yield at, length


def merge_marks(marks: Sequence) -> tuple[tuple[int, int], ...]:
    """What several items cover together."""
    if not marks:
        return ()
    first = marks[0]
    if type(first) is int and (type(marks) is range or marks == list(range(first, first + len(marks)))):
        return ((first, first + len(marks)),)
    ledger = Ledger()
    ledger.add_all(marks)
    return tuple((start, stop) for start, stop in ledger.ranges())


def dump(epoch: int, delivered: Ledger, fingerprint: list[str]) -> dict[str, Any]:
    return {"version": VERSION, "epoch": epoch, "delivered": delivered.ranges(), "pipeline": fingerprint}


def load(state: Any, fingerprint: list[str]) -> tuple[int, Ledger]:
    """Checks a state against a pipeline. Raises PipelineError when it is another's, ValueError when it is none."""
    try:
        version, epoch, delivered, theirs = (state[key] for key in ("version", "epoch", "delivered", "pipeline"))
        if version != VERSION:
            raise ValueError(f"version {version}, this owl reads version {VERSION}")
        ledger = Ledger((int(start), int(stop)) for start, stop in delivered)
        epoch = int(epoch)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a state of a pipeline: {error}") from error
    if list(theirs) != fingerprint:
        pairs = zip([*theirs, "nothing"], [*fingerprint, "nothing"], strict=False)
        saved, here = next((a, b) for a, b in pairs if a != b)
        raise PipelineError(f"the state belongs to another pipeline: it has {saved}, this one has {here}")
    return epoch, ledger
