"""Staging: batches that wait in host memory, copied and converted, until somebody takes them as NArrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from owl._runtime import OwlTypeError, default_dtype
from owl.aio.pipeline.buffers import BufferPool, is_pooled


class StagingRing:
    """Copies batches (arrays, numbers, and tuples, lists and dicts of them) into reusable float buffers.

    ``stage`` may be called from any thread and records nothing. A buffer returns to the ring once no NArray reads
    it any more. With ``adopt``, arrays that a batch stage has just stacked in reusable memory are taken as they
    are, if their dtype is right: nobody else can have them.
    """

    def __init__(self, device: Any = None, dtype: Any = None, adopt: bool = False, depth: int = 8) -> None:
        self.device = device
        self.dtype = default_dtype() if dtype is None else np.dtype(dtype)
        self.pool = BufferPool(depth, device)
        self._adopt = adopt

    def stage(self, batch: Any) -> Staged:
        """Copies a batch off to the side. Raises TypeError for members that are no numeric arrays."""
        views: list[np.ndarray] = []
        rebuild = self._stage(batch, views, "")
        return Staged(rebuild, views, self.device)

    def _stage(self, batch: Any, views: list[np.ndarray], where: str) -> Callable[[list], Any]:
        """Collects staged arrays; what it returns puts as many results back into the structure of the batch."""
        if isinstance(batch, (np.ndarray, np.generic, int, float)):
            at = len(views)
            views.append(self._copy(np.asarray(batch), where))
            return lambda results: results[at]
        if isinstance(batch, dict):
            members = {key: self._stage(value, views, f"{where}[{key!r}]") for key, value in batch.items()}
            return lambda results: {key: member(results) for key, member in members.items()}
        if isinstance(batch, (tuple, list)):
            parts = [self._stage(value, views, f"{where}[{at}]") for at, value in enumerate(batch)]
            kind = type(batch)
            if hasattr(batch, "_fields"):
                return lambda results: kind(*(part(results) for part in parts))
            return lambda results: kind(part(results) for part in parts)
        raise OwlTypeError(f"cannot stage{where} a {type(batch).__name__}: numpy arrays are needed")

    def _copy(self, array: np.ndarray, where: str) -> np.ndarray:
        if array.dtype.kind not in "biuf":
            raise OwlTypeError(f"cannot stage{where} an array of dtype {array.dtype}")
        if self._adopt and array.dtype == self.dtype and is_pooled(array) and array.flags.c_contiguous:
            return array
        staged = self.pool.empty(array.shape, self.dtype)
        np.copyto(staged, array, casting="unsafe")
        return staged


class Staged:
    """A batch in staging buffers; ``take`` makes NArrays of it, which is where recording happens."""

    __slots__ = ("_device", "_rebuild", "_views")

    def __init__(self, rebuild: Callable[[list], Any], views: list[np.ndarray], device: Any) -> None:
        self._rebuild = rebuild
        self._views = views
        self._device = device

    @property
    def nbytes(self) -> int:
        return sum(view.nbytes for view in self._views)

    def take(self) -> Any:
        """The batch as NArrays on its device, recorded by the calling thread or task. Once only."""
        import owl

        views, self._views = self._views, []
        with _on_device(owl, self._device):
            return self._rebuild([owl.from_numpy(view, dtype=view.dtype, copy=False) for view in views])


@contextmanager
def _on_device(owl: Any, device: Any) -> Iterator[None]:
    if device is None:
        yield
        return
    before = owl.get_device()
    owl.set_device(device)
    try:
        yield
    finally:
        owl.set_device(before)
