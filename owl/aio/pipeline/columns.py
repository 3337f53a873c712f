"""Many small items as a few arrays, on their way to a process and back: pickling each by itself costs microseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from owl._runtime import stack_members, stack_values

_FEW = 4  # items, which are not worth it


@dataclass(slots=True)
class Columns:
    """Items that are alike, stacked: what they were can be told from the arrays and the types."""

    columns: list[np.ndarray | list]
    types: list[type]  # of each column's members; of lists it does not matter
    tuples: bool  # items are tuples with a member in each column, or else the one column's members


def pack(values: list) -> Columns | list:
    """Stacks items if they are arrays of one shape, numbers of one type, or tuples with such members; else the list."""
    if len(values) < _FEW:
        return values
    first = values[0]
    if type(first) is not tuple:
        stacked = stack_values(values)
        return values if stacked is None else Columns([stacked], [type(first)], tuples=False)
    members = stack_members(values)
    if not members or all(member is None for member in members):
        return values
    columns = [[v[i] for v in values] if member is None else member for i, member in enumerate(members)]
    return Columns(columns, [type(member) for member in first], tuples=True)


def unpack(packed: Columns | list) -> list:
    """The items, as pickling would have given them: arrays have memory of their own."""
    if not isinstance(packed, Columns):
        return packed
    columns = [_members(column, kind) for column, kind in zip(packed.columns, packed.types, strict=True)]
    return list(zip(*columns, strict=True)) if packed.tuples else columns[0]


def _members(column: np.ndarray | list, kind: type) -> list[Any]:
    if isinstance(column, list):
        return column
    if kind is np.ndarray:
        # A copy, for a row of the whole would keep all of it alive.
        return [row.copy() for row in column]
    return list(column) if issubclass(kind, np.generic) else column.tolist()
