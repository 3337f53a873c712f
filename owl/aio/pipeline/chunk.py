"""Items travel in chunks: columns of keys, marks and values.

Handing over many small items at once is what keeps the cost of a stage at a microsecond per item, while slow items
still travel one by one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

_NBYTES = attrgetter("nbytes")
_MANY = 128
_SCALARS = frozenset({int, float, bool, complex, type(None)})


class Chunk:
    """A run of items.

    ``keys`` name items (index in the source; a tuple of keys for a batch). ``marks`` say which positions of the
    epoch an item covers: an int, or a tuple of ``(start, stop)`` ranges. ``skipped`` holds marks whose items were
    given up; they travel along so that they count as done once their neighbours are delivered. Keys and marks that
    follow one another stay a ``range`` as long as they can: it is cut, joined and entered without a look at each.
    """

    __slots__ = ("keys", "marks", "skipped", "values")

    def __init__(self, keys: Sequence, marks: Sequence, values: list, skipped: list | None = None) -> None:
        self.keys = keys
        self.marks = marks
        self.values = values
        self.skipped = skipped or []

    def __len__(self) -> int:
        return len(self.values)

    def split(self, n: int) -> tuple[Chunk, Chunk]:
        """The first ``n`` items, and the others with whatever was skipped."""
        head = Chunk(self.keys[:n], self.marks[:n], self.values[:n])
        return head, Chunk(self.keys[n:], self.marks[n:], self.values[n:], self.skipped)

    def extend(self, other: Chunk) -> None:
        self.keys = _join(self.keys, other.keys)
        self.marks = _join(self.marks, other.marks)
        self.values = self.values + other.values if self.values else other.values
        self.skipped = self.skipped + other.skipped


def _join(head: Sequence, tail: Sequence) -> Sequence:
    if not head:
        return tail
    if type(head) is type(tail) is range and head.stop == tail.start and head.step == tail.step == 1:
        return range(head.start, tail.stop)
    return [*head, *tail]


def weigh(values: list) -> int:
    """Bytes that the values keep alive, as far as numpy arrays, bytes, numbers and containers of them tell.

    Many values, which only small ones are in one chunk, are weighed by every eighth.
    """
    if len(values) >= _MANY:
        return 8 * weigh(values[::8])
    types = set(map(type, values))
    if types <= _SCALARS:
        return 32 * len(values)
    if types == {np.ndarray}:
        return sum(map(_NBYTES, values))
    return sum(map(_weigh_one, values))


def _weigh_one(value: Any) -> int:
    sizer = _SIZERS.get(type(value))
    if sizer is not None:
        return sizer(value)
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    if isinstance(value, tuple):
        return sum(map(_weigh_one, value))
    return sys.getsizeof(value, 64)


_SIZERS: dict[type, Callable[[Any], int]] = {
    np.ndarray: _NBYTES,
    int: lambda _: 32,
    float: lambda _: 24,
    bytes: len,
    tuple: lambda value: sum(map(_weigh_one, value)),
    list: lambda value: sum(map(_weigh_one, value)),
    dict: lambda value: sum(map(_weigh_one, value.values())),
}
