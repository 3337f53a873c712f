"""Where an epoch stands: which positions were delivered, as JSON and back."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from owl.aio.pipeline.errors import PipelineError, StateError

VERSION = 2
_KEYS = ("version", "epoch", "delivered", "pipeline")


class Ledger:
    """A set of positions kept as disjoint ascending ranges; a prefix, as ordered pipelines deliver, is one range.

    Entering is one step each, and entering again changes nothing: an interrupt leaves no half of it. One thread at a
    time may enter.
    """

    def __init__(self, ranges: Iterable[Iterable[int]] = ()) -> None:
        self._ranges: list[tuple[int, int]] = []
        for start, stop in ranges:
            self.add_range(start, stop)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self._ranges)

    def __contains__(self, position: int) -> bool:
        at = bisect_left(self._ranges, (position + 1,)) - 1
        return at >= 0 and position < self._ranges[at][1]

    def ranges(self) -> list[list[int]]:
        return [list(pair) for pair in self._ranges]

    def copy(self) -> Ledger:
        ledger = Ledger()
        ledger._ranges = self._ranges.copy()
        return ledger

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
        ranges = self._ranges
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], stop)
            return
        # Those that overlap the new one or touch it become one with it.
        low = bisect_left(ranges, (start,))
        if low and ranges[low - 1][1] >= start:
            low -= 1
        high = bisect_left(ranges, (stop + 1,))
        if low < high:
            start, stop = min(start, ranges[low][0]), max(stop, ranges[high - 1][1])
        ranges[low:high] = [(start, stop)]

    def gaps(self, length: int) -> Iterator[tuple[int, int]]:
        """The ranges below ``length`` that are missing."""
        at = 0
        for start, stop in self._ranges:
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
    saved = {"version": VERSION, "epoch": epoch, "delivered": delivered.ranges(), "pipeline": fingerprint}
    return {**saved, "checksum": _checksum(saved)}


def load(saved: Any, fingerprint: list[str]) -> tuple[int, Ledger]:
    """Checks a state against a pipeline.

    Raises PipelineError when it is another's, StateError when it is none or was changed.
    """
    if not isinstance(saved, Mapping):
        raise StateError(f"not a state of a pipeline: a {type(saved).__name__}, expected a dictionary")
    missing = [key for key in (*_KEYS, "checksum") if key not in saved]
    if saved.get("version") != VERSION and "version" not in missing:
        raise StateError(f"a state of version {saved['version']!r}, this owl reads version {VERSION}")
    if missing:
        raise StateError(f"not a state of a pipeline: {', '.join(map(repr, missing))} missing")
    if saved["checksum"] != _checksum(saved):
        raise StateError("the state was changed since it was saved: its checksum does not fit")
    theirs = saved["pipeline"]
    if theirs != fingerprint:
        pairs = zip([*theirs, "nothing"], [*fingerprint, "nothing"], strict=False)
        other, here = next((a, b) for a, b in pairs if a != b)
        raise PipelineError(f"the state belongs to another pipeline: it has {other}, this one has {here}")
    return saved["epoch"], Ledger(saved["delivered"])


def _checksum(saved: Mapping[str, Any]) -> str:
    """Of all values but itself. It finds what was damaged or edited, and is no signature: anyone can compute it."""
    try:
        text = json.dumps([saved[key] for key in _KEYS], separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return "none"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
