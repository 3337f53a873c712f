"""A training loop of PyTorch's whose batches come from a pipeline of owl's, without a copy.

    python examples/train_torch.py --epochs 5

The pipeline stacks each batch once, into memory of its own. The tensors of the loop lie over that memory. It is used
for a later batch once PyTorch has let go of them: a loop may keep a batch for as long as it likes, and so does a graph
that has not been differentiated yet.

Needs PyTorch, 2.2 or later.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch

import owl.aio

FEATURES, CLASSES = 128, 10


class Samples:
    """Points around the center of their class, made anew whenever one is read: the same one for the same index."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.centers = np.random.default_rng(seed).standard_normal((CLASSES, FEATURES), np.float32)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        noise = np.random.default_rng(index).standard_normal(FEATURES, np.float32)
        label = index % CLASSES
        return self.centers[label] + 2 * noise, label


def batches(samples: Samples, size: int) -> owl.aio.Pipeline:
    """Batches in a new order each epoch; two of them wait for the loop."""
    return owl.aio.Pipeline(samples).shuffle(seed=0).batch(size).map(tensors).prefetch(2)


def tensors(batch: tuple[np.ndarray, ...]) -> tuple[torch.Tensor, ...]:
    """The members of a batch as tensors over the same memory."""
    return tuple(torch.from_numpy(member) for member in batch)


def train(pipe: owl.aio.Pipeline, epochs: int, rate: float = 0.1) -> Iterator[float]:
    """Trains a small perceptron; the mean loss of each epoch."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(FEATURES, 64), torch.nn.ReLU(), torch.nn.Linear(64, CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(epochs):
        losses = []
        for points, labels in pipe:
            loss = torch.nn.functional.cross_entropy(model(points), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        yield sum(losses) / len(losses)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a perceptron of PyTorch's on batches of owl's.")
    parser.add_argument("--epochs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--samples", type=int, default=8192, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=256, help="default: %(default)s")
    options = parser.parse_args()
    for epoch, loss in enumerate(train(batches(Samples(options.samples), options.batch), options.epochs)):
        print(f"epoch {epoch}: loss {loss:.4f}", flush=True)


if __name__ == "__main__":
    main()
