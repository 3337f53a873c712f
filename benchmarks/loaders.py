"""The same loading by ``owl.aio.Pipeline``, PyTorch's DataLoader and SPDL: images to batches of floats and labels."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import ndimage

BATCH = 256
Sample = tuple[np.ndarray, int]


def images(n: int) -> list[Sample]:
    """Noise in the shape and type of handwritten digits, with labels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, 28, 28), np.uint8)
    return [(pixels[i], int(label)) for i, label in enumerate(rng.integers(0, 10, n))]


def augment(sample: Sample, rng: np.random.Generator) -> Sample:
    """Decodes to floats, and turns and shifts the image a little."""
    pixels, label = sample
    angle = math.radians(rng.uniform(-15, 15))
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    offset = 13.5 - turn @ (13.5 + rng.uniform(-2, 2, 2))
    image = ndimage.affine_transform(pixels.astype(np.float32), turn, offset, order=1)
    return image.reshape(784) * np.float32(1 / 255), label


def no_op(sample: Any) -> Any:
    return sample


class Dataset:
    """A map-style data set that does its work in ``__getitem__``, as a DataLoader wants it."""

    def __init__(self, samples: list[Sample], work: str) -> None:
        self.samples = samples
        self.work = work

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, at: int) -> Any:
        if self.work == "augment":
            return augment(self.samples[at], np.random.Generator(np.random.Philox(at)))
        return no_op(self.samples[at])


def owl_loader(samples: list[Sample], work: str, workers: int) -> Callable[[], Iterator[Any]]:
    from owl.aio.pipeline import Pipeline

    pipe = Pipeline(samples).shuffle(seed=0)
    executor = "process" if workers else "thread"
    pipe = pipe.map(augment if work == "augment" else no_op, executor=executor, concurrency=max(1, workers))
    return (pipe if work == "no-op, single items" else pipe.batch(BATCH).prefetch(4)).__iter__


def torch_loader(samples: list[Sample], work: str, workers: int) -> Callable[[], Iterator[Any]]:
    from torch.utils.data import DataLoader

    loader = DataLoader(
        Dataset(samples, work),
        batch_size=None if work == "no-op, single items" else BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return loader.__iter__


def spdl_loader(samples: list[Sample], work: str, workers: int) -> Callable[[], Iterator[Any]]:
    from spdl.pipeline import PipelineBuilder

    from owl.aio.pipeline.collate import collate

    dataset = Dataset(samples, work)
    threads = max(1, workers)

    def epoch() -> Iterator[Any]:
        order = np.random.default_rng(0).permutation(len(samples)).tolist()
        builder = PipelineBuilder().add_source(order).pipe(dataset.__getitem__, concurrency=threads)
        if work != "no-op, single items":
            builder = builder.aggregate(BATCH).pipe(collate)
        pipeline = builder.add_sink(4).build(num_threads=threads + 1)
        with pipeline.auto_stop():
            yield from pipeline

    return epoch


LOADERS = {"owl": owl_loader, "DataLoader": torch_loader, "SPDL": spdl_loader}


def contestants() -> list[tuple[str, int]]:
    """Loaders with numbers of workers: processes, for owl and DataLoader; threads for SPDL."""
    cores = os.cpu_count() or 1
    found = [("owl", 0), ("owl", cores), ("DataLoader", 0), ("DataLoader", 1), ("DataLoader", cores)]
    return [*found, ("SPDL", cores)] if importlib.util.find_spec("spdl") else found
