"""To and from NumPy without blocking the event loop: large copies are made by the loop's pool of threads."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

import owl
from owl import NArray, _runtime
from owl.aio._pressure import ready

LARGE = 1 << 20  # bytes; less is copied sooner than a thread could be asked to


async def to_numpy(x: NArray) -> np.ndarray:
    """The value as a new NumPy array, as ``x.to_numpy()`` gives it. Does not block the loop.

    The value is that of the moment of the call's first step, whatever `x` is pointed at meanwhile. A GPU sends it in
    the order of its computing, with the plan that computes it if that was not submitted yet; no thread waits for it.

    Raises
    ------
    owl.ExecutionError
        If the value could not be computed, with the lines that recorded the operations which failed.
    """
    value = _runtime.value_on_host(x)
    await value
    if value.nbytes < LARGE:
        return value.to_numpy()
    return await asyncio.get_running_loop().run_in_executor(None, value.to_numpy)


async def from_numpy(array: Any, dtype: Any = None, copy: bool | None = True) -> NArray:
    """An owl array with the elements of a NumPy array, as `owl.from_numpy` makes it. Does not block the loop.

    Waits for room first (see `ready`). A NumPy array of 1 MiB or more is copied by a thread: it must not be changed
    until this returns. ``copy=False`` and ``copy=None`` borrow as `owl.from_numpy` does.
    """
    await ready()
    if not (type(array) is np.ndarray and array.nbytes >= LARGE and array.dtype.kind in "fiub"):
        return owl.from_numpy(array, dtype, copy)
    wanted = _runtime.default_dtype() if dtype is None else np.dtype(dtype)
    borrowable = array.dtype == wanted and array.flags.c_contiguous
    if not copy and (copy is not None or borrowable):
        return owl.from_numpy(array, dtype, copy)
    staged = await asyncio.get_running_loop().run_in_executor(None, _copied, array, wanted)
    return owl.from_numpy(staged, wanted, copy=False)


def _copied(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.array(array, dtype, order="C", copy=True)
