"""The images and labels in memory, and batches of them as float32."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from owl.apps.mnist.errors import DataError

SIDE = 28
PIXELS = SIDE * SIDE
CLASSES = 10
SCALE = np.float32(1 / 256)  # a power of two: multiplying is exactly dividing by 256

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]
Batch = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Split:
    """Images uint8 ``[n, 784]`` with their labels uint8 ``[n]``, 0 to 9."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A training and a test split, and in words where they come from."""

    train: Split
    test: Split
    source: str


def check_split(split: Split, name: str) -> Split:
    """Return ``split`` if images and labels fit together; raise DataError, beginning with ``name``, if not."""
    images, labels = split.images, split.labels
    if images.ndim != 2 or images.shape[1] != PIXELS or labels.ndim != 1:
        raise DataError(
            f"{name}: expected images [n, {PIXELS}] and labels [n], got {list(images.shape)} and {list(labels.shape)}"
        )
    if len(images) != len(labels):
        raise DataError(f"{name}: {len(images)} images but {len(labels)} labels")
    if len(images) == 0:
        raise DataError(f"{name}: no images")
    if labels.max() >= CLASSES:
        raise DataError(f"{name}: label {labels.max()} is not a digit")
    return split


def one_hot(labels: Labels) -> NDArray[np.float32]:
    """Labels ``[n]`` as rows of zeros with a single one, float32 ``[n, 10]``."""
    rows = np.zeros((len(labels), CLASSES), dtype=np.float32)
    rows[np.arange(len(labels)), labels] = 1
    return rows


def to_batch(images: Images, labels: Labels) -> Batch:
    """Fresh arrays: data float32 ``[n, 784]`` in 0..1, labels one-hot float32 ``[n, 10]``."""
    return images * SCALE, one_hot(labels)


def batches(split: Split, size: int, order: NDArray[np.intp] | None = None) -> Generator[Batch, None, None]:
    """Yield ``(data, label)`` of ``size`` images at a time, the last one short, in ``order`` if given.

    Only one batch is in memory as float32: ``data`` is a buffer that the next iteration overwrites, so copy it
    (``owl.from_numpy`` does) before going on.
    """
    size = min(size, len(split))
    pixels = np.empty((size, PIXELS), dtype=np.uint8)
    data = np.empty((size, PIXELS), dtype=np.float32)
    for start in range(0, len(split), size):
        n = min(size, len(split) - start)
        if order is None:
            chosen: slice | NDArray[np.intp] = slice(start, start + n)
            source = split.images[chosen]
        else:
            chosen = order[start : start + n]
            # mode="clip": with the default, NumPy gathers into a temporary array first
            source = np.take(split.images, chosen, axis=0, out=pixels[:n], mode="clip")
        np.multiply(source, SCALE, out=data[:n])
        yield data[:n], one_hot(split.labels[chosen])
