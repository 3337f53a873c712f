"""Stacking items into a batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any

import numpy as np

from owl._runtime import OwlTypeError, OwlValueError, stack_members, stack_values
from owl.aio.pipeline.buffers import BufferPool

_SMALL = 1024  # bytes
_SHAPE = attrgetter("shape")
_DTYPE = attrgetter("dtype")
_ARRAYS = {np.ndarray}
_PLAIN_NUMBERS = {bool, int, float, complex}
_NUMBERS = (bool, int, float, complex, np.generic)


def collate(values: list, pool: BufferPool | None = None) -> Any:
    """Stacks items along a new first axis.

    Arrays and numbers become one array; tuples, named tuples, lists and dicts are stacked member by member; str and
    bytes are kept as a list. Large arrays are made in ``pool``. Raises TypeError or ValueError naming the place and
    the first item that does not fit.

    >>> collate([(np.zeros(2), 1), (np.ones(2), 2)])
    (array([[0., 0.],
           [1., 1.]]), array([1, 2]))
    """
    return _stack(values, "", pool)


def _stack(values: Sequence, where: str, pool: BufferPool | None) -> Any:
    first = values[0]
    # What is usual is stacked natively; the rest of this file is for everything else, for containers and for errors.
    allocate = None if pool is None else pool.empty
    if type(first) is tuple:
        members = stack_members(values, allocate)
        if members is not None:
            return tuple(
                _stack([value[i] for value in values], f"{where}[{i}]", pool) if member is None else member
                for i, member in enumerate(members)
            )
    else:
        stacked = stack_values(values, allocate)
        if stacked is not None:
            return stacked
    kinds = set(map(type, values))
    if kinds == _ARRAYS:
        return _stack_arrays(values, where, pool)
    if kinds <= _PLAIN_NUMBERS:
        return np.array(values)
    if isinstance(first, _NUMBERS) or _is_scalar_array(first):
        return _stack_numbers(values, where)
    if len(kinds) > 1:
        at = next(i for i, value in enumerate(values) if type(value) is not type(first))
        raise OwlTypeError(f"cannot stack{where}: {_kind(first)} at 0, but {_kind(values[at])} at {at} of the batch")
    if isinstance(first, dict):
        for at, value in enumerate(values):
            if value.keys() != first.keys():
                raise OwlValueError(
                    f"cannot stack{where}: keys {list(first)} at 0, but {list(value)} at {at} of the batch"
                )
        return {key: _stack([value[key] for value in values], f"{where}[{key!r}]", pool) for key in first}
    if isinstance(first, (tuple, list)):
        if len(set(map(len, values))) > 1:
            at = next(i for i, value in enumerate(values) if len(value) != len(first))
            raise OwlValueError(
                f"cannot stack{where}: {len(first)} members at 0, but {len(values[at])} at {at} of the batch"
            )
        columns = [_stack(column, f"{where}[{i}]", pool) for i, column in enumerate(zip(*values, strict=True))]
        return type(first)(*columns) if hasattr(first, "_fields") else type(first)(columns)
    if isinstance(first, (str, bytes)):
        return list(values)
    hint = "; does a function before the batch lack a return?" if first is None else "; pass collate= to batch()"
    raise OwlTypeError(f"cannot stack{where} items of type {_kind(first)}{hint}")


def _stack_arrays(arrays: Sequence, where: str, pool: BufferPool | None) -> np.ndarray:
    first = arrays[0]
    shape = (len(arrays), *first.shape)
    if first.ndim and first.nbytes <= _SMALL and not first.dtype.hasobject:
        # For small arrays joining bytes is several times faster than any of numpy's ways; it refuses strided ones. What
        # it costs is the first touch of each array, which joining hides better than asking for shapes would: so it
        # comes before them.
        with suppress(TypeError):
            joined = bytearray().join(arrays)
            _check_alike(arrays, where)
            return np.frombuffer(joined, first.dtype).reshape(shape)
    _check_alike(arrays, where)
    if first.ndim == 0:
        return np.array(arrays)
    if pool is None:
        return np.concatenate(arrays).reshape(shape)
    stacked = pool.empty(shape, first.dtype)
    np.concatenate(arrays, out=stacked.reshape(-1, *first.shape[1:]))
    return stacked


def _check_alike(arrays: Sequence, where: str) -> None:
    if len(set(map(_SHAPE, arrays))) > 1 or len(set(map(_DTYPE, arrays))) > 1:
        first = arrays[0]
        at = next(i for i, array in enumerate(arrays) if array.shape != first.shape or array.dtype != first.dtype)
        raise OwlValueError(
            f"cannot stack{where} ragged arrays: {first.dtype}{list(first.shape)} at 0, "
            f"but {arrays[at].dtype}{list(arrays[at].shape)} at {at} of the batch"
        )


def _stack_numbers(values: Sequence, where: str) -> np.ndarray:
    at = next((i for i, value in enumerate(values) if not (isinstance(value, _NUMBERS) or _is_scalar_array(value))), 0)
    if not at:
        return np.array(values)
    raise OwlTypeError(f"cannot stack{where}: {_kind(values[0])} at 0, but {_kind(values[at])} at {at} of the batch")


def _is_scalar_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 0


def _kind(value: Any) -> str:
    return type(value).__name__
