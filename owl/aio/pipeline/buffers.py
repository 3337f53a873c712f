"""Reusable memory for batches.

A fresh array of a megabyte costs more in page faults than in copying; the arrays made here live in buffers that come
back once nobody holds the array, or any view of it, any more.
"""

from __future__ import annotations

import math
import threading
import weakref
from typing import Any

import numpy as np

from owl._runtime import staging_memory

DEPTH = 4
_ALIGNMENT = 64
_WORTHWHILE = 1 << 16  # bytes; smaller arrays are faster made than recycled


class BufferPool:
    """A ring of buffers, at most ``depth`` of them kept for reuse; any thread may use it.

    It is never waited for: a consumer that holds all buffers may be the one who waits for the next batch, so when
    none is free another one is made.
    """

    def __init__(self, depth: int = DEPTH, device: Any = None) -> None:
        self.depth = max(DEPTH, depth)
        self.device = device  # for which the memory is pinned, if it has a memory of its own
        self.made = 0
        self._free: list[np.ndarray] = []
        # Buffers come back from finalizers, which may run inside an allocation of the thread that holds the lock.
        self._lock = threading.RLock()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An uninitialized C-ordered array, aligned to 64 bytes."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if size < _WORTHWHILE or dtype.hasobject:
            return np.empty(shape, dtype)
        buffer = self._acquire(size)
        return np.asarray(_Lease(self, buffer, buffer[:size].view(dtype).reshape(shape)))

    def _acquire(self, size: int) -> np.ndarray:
        with self._lock:
            for at, buffer in enumerate(self._free):
                if size <= buffer.nbytes <= 2 * size:
                    return self._free.pop(at)
            self.made += 1
        pinned = None if self.device is None else staging_memory(size, self.device)
        if pinned is not None:
            return pinned
        raw = np.empty(size + _ALIGNMENT, np.uint8)
        offset = -raw.ctypes.data % _ALIGNMENT
        return raw[offset : offset + size]

    def _release(self, buffer: np.ndarray) -> None:
        with self._lock:
            self._free.append(buffer)
            if len(self._free) > self.depth:
                self._free.pop(0)


class _Lease:
    """Owns a buffer on behalf of one array: numpy keeps it as the base of that array and of every view of it."""

    __slots__ = ("__array_interface__", "__weakref__", "_view")

    def __init__(self, pool: BufferPool, buffer: np.ndarray, view: np.ndarray) -> None:
        self.__array_interface__ = view.__array_interface__
        self._view = view
        weakref.finalize(self, _give_back, weakref.ref(pool), buffer).atexit = False


def _give_back(pool: weakref.ref[BufferPool], buffer: np.ndarray) -> None:
    owner = pool()
    if owner is not None:
        owner._release(buffer)


def is_pooled(array: np.ndarray) -> bool:
    """Whether an array owns a buffer of a pool, all by itself."""
    return type(array.base) is _Lease
