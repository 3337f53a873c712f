"""The training loop and the accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import owl
from owl import NArray
from owl.apps.mnist.dataset import Batch, Split, batches
from owl.apps.mnist.loading import Batches, Loader
from owl.apps.mnist.model import Model

TEST_BATCH = 1000


Progress = Callable[[Batches, int], Batches]
Watch = Callable[[list[tuple[NArray, NArray]]], None]


@dataclass(frozen=True)
class Epoch:
    """What came of one epoch; ``seconds`` are those of the training alone, without the test."""

    number: int
    accuracy: float
    images: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds


class Evaluation:
    """A test split that stays on the current device."""

    def __init__(self, split: Split) -> None:
        self.total = len(split)
        self.batches = [
            (owl.from_numpy(data), owl.from_numpy(label).argmax(0)) for data, label in batches(split, TEST_BATCH)
        ]

    def accuracy(self, model: Model) -> float:
        """The fraction of the split that ``model`` gets right; evaluates and blocks."""
        # All batches are recorded before the first is asked for: the device need not wait for Python in between.
        misses = [model.predict(data).argmax(0) - digit for data, digit in self.batches]
        return sum(miss.count_zero() for miss in misses) / self.total


def parallel_step(
    model: Model,
    devices: Sequence[owl.Device],
    batch: Batch,
    rate: float,
    watch: Watch | None,
    copy: bool | None = True,
) -> None:
    """One step on a batch that is divided among ``devices``.

    Each device works on its part at the same time as the others; the first one adds up the gradients and updates the
    parameters. ``watch`` gets the scores before softmax and the labels of all parts. Without ``copy`` the batch is read
    where it lies if it can be, and must not change.
    """
    data, label = batch
    images = len(data)
    total: dict[str, NArray] = {}
    parts: list[tuple[NArray, NArray]] = []
    for number, device in enumerate(devices):
        part = slice(images * number // len(devices), images * (number + 1) // len(devices))
        if part.start == part.stop:
            continue
        with device:
            labels = owl.from_numpy(label[part], copy=copy)
            scores, gradients = model.gradients(owl.from_numpy(data[part], copy=copy), labels)
            parts.append((scores, labels))
        with devices[0]:
            total = {name: total[name] + gradients[name] for name in gradients} if total else gradients
    with devices[0]:
        model.update(total, images, rate)
    if watch is not None:
        watch(parts)


def train(
    model: Model,
    loader: Loader,
    evaluation: Evaluation,
    *,
    devices: Sequence[owl.Device],
    epochs: int,
    images: int,
    rate: float,
    progress: Progress,
    watch: Watch | None = None,
) -> Iterator[Epoch]:
    """Train for ``epochs`` of ``images`` each, and yield what came of each.

    Nothing is asked of the device within an epoch, so recording runs ahead of it as far as the runtime allows.
    """
    model.expect(epochs * len(loader))
    for number in range(1, epochs + 1):
        start = time.perf_counter()
        with closing(loader.epoch(number)) as loaded, closing(progress(loaded, len(loader))) as steps:
            for batch in steps:
                parallel_step(model, devices, batch, rate, watch, loader.copy)
        owl.wait_for_all()
        seconds = time.perf_counter() - start
        yield Epoch(number, evaluation.accuracy(model), images, seconds)
