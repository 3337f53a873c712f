"""Batches for training: made while the previous ones are being computed on, or in the training loop itself."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Protocol, cast

import numpy as np

from owl.apps.mnist.augment import motions, move
from owl.apps.mnist.dataset import SCALE, Batch, Split, one_hot


class Batches(Protocol):
    """An iterator of batches that can be ended early."""

    def __iter__(self) -> Iterator[Batch]: ...

    def close(self) -> None:
        """Let go of what the iteration holds; a bar leaves the terminal."""


class Memory(Protocol):
    """What makes arrays."""

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray: ...


class EpochBatches:
    """The batches of one epoch after another, by number: map-style, and safe to read from several threads.

    The order of an epoch, and how ``augment`` shifts and turns each image, depend on ``seed`` and the epoch alone.
    """

    def __init__(self, split: Split, size: int, seed: int, augment: bool, memory: Memory) -> None:
        self._split = split
        self._size = min(size, len(split))
        self._seed = seed
        self._augment = augment
        self._memory = memory
        self.begin(1)

    def begin(self, epoch: int) -> None:
        """Draw the order of an epoch, and its shifts and rotations."""
        count = len(self._split)
        self._order = np.random.default_rng([self._seed, epoch]).permutation(count)
        self._motions = motions(self._seed, epoch, count) if self._augment else None

    def __len__(self) -> int:
        return -(-len(self._split) // self._size)

    def __getitem__(self, number: int) -> Batch:
        """Data float32 ``[n, 784]`` and one-hot labels float32 ``[n, 10]``; the last batch may be short."""
        chosen = self._order[number * self._size : (number + 1) * self._size]
        shape = (len(chosen), self._split.images.shape[1])
        pixels = self._memory.empty(shape, np.uint8)
        # mode="clip": with the default, NumPy gathers into a temporary array first
        np.take(self._split.images, chosen, axis=0, out=pixels, mode="clip")
        if self._motions is not None:
            pixels = move(pixels, self._motions[chosen])
        data = self._memory.empty(shape, np.float32)
        np.multiply(pixels, SCALE, out=data)
        return data, one_hot(self._split.labels[chosen])


class PlainLoader:
    """Makes each batch when it is asked for. The next one overwrites it, so it must be copied before."""

    copy: bool | None = True

    def __init__(self, split: Split, size: int, seed: int, augment: bool = False) -> None:
        self._batches = EpochBatches(split, size, seed, augment, _Overwritten())

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, number: int) -> Generator[Batch, None, None]:
        """The batches of an epoch; epochs count from 1."""
        self._batches.begin(number)
        for at in range(len(self._batches)):
            yield self._batches[at]


class PipelineLoader:
    """Makes batches ahead of the training loop, in threads of an ``owl.aio.Pipeline``: the same as ``PlainLoader``'s.

    They lie in memory that is used again only when nobody holds a batch any more, so they need no copying.
    """

    copy: bool | None = None  # but for another dtype

    def __init__(self, split: Split, size: int, seed: int, augment: bool = False) -> None:
        from owl.aio.pipeline import Pipeline
        from owl.aio.pipeline.buffers import BufferPool

        self._batches = EpochBatches(split, size, seed, augment, BufferPool(depth=16))
        # Gathering is bound by memory, which one thread saturates; interpolating is work for all cores.
        threads = (os.cpu_count() or 1) if augment else 1
        self.pipe = Pipeline(self._batches, concurrency=threads).prefetch(8)

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, number: int) -> Batches:
        """The batches of an epoch; epochs count from 1. One epoch at a time."""
        self._batches.begin(number)
        return cast(Batches, iter(self.pipe))  # a generator, which close() ends together with its threads


Loader = PlainLoader | PipelineLoader


class _Overwritten:
    """One array for each type of element, made anew only for a new number of columns or more rows."""

    def __init__(self) -> None:
        self._arrays: dict[type[np.generic], np.ndarray] = {}

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
        array = self._arrays.get(dtype)
        if array is None or len(array) < shape[0] or array.shape[1:] != shape[1:]:
            array = self._arrays[dtype] = np.empty(shape, dtype)
        return array[: shape[0]]
