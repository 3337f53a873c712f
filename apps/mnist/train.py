"""The training loop and the accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

import owl
from owl.apps.mnist.dataset import Batch, Dataset, Split, batches
from owl.apps.mnist.model import Model

TEST_BATCH = 1000


class Batches(Protocol):
    """An iterator of batches that can be ended early."""

    def __iter__(self) -> Iterator[Batch]: ...

    def close(self) -> None:
        """Let go of what the iteration holds; a bar leaves the terminal."""


Progress = Callable[[Batches, int], Batches]


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


def train(
    model: Model,
    dataset: Dataset,
    evaluation: Evaluation,
    *,
    epochs: int,
    batch_size: int,
    rate: float,
    seed: int,
    progress: Progress,
) -> Iterator[Epoch]:
    """Train for ``epochs``, each in a new order drawn from ``seed``, and yield what came of each.

    Nothing is asked of the device within an epoch, so recording runs ahead of it as far as the runtime allows.
    """
    random = np.random.default_rng(seed)
    images = len(dataset.train)
    for number in range(1, epochs + 1):
        start = time.perf_counter()
        order = random.permutation(images)
        with closing(progress(batches(dataset.train, batch_size, order), -(-images // batch_size))) as steps:
            for data, label in steps:
                model.step(owl.from_numpy(data), owl.from_numpy(label), rate)
        owl.wait_for_all()
        seconds = time.perf_counter() - start
        yield Epoch(number, evaluation.accuracy(model), images, seconds)
