"""Train the perceptron on MNIST in asyncio; ``python -m owl.apps.mnist.mnist_async --help`` lists the options.

Training is one task among others. A heartbeat beside it reports how late the event loop is at worst.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import numpy as np

import owl
import owl.aio
from owl.apps.mnist import INTERRUPTED, data
from owl.apps.mnist.dataset import Split, batches
from owl.apps.mnist.model import Perceptron
from owl.apps.mnist.options import WRONG_INPUT, Parser, at_least, positive

TEST_BATCH = 1000


async def train_epoch(model: Perceptron, split: Split, batch: int, rate: float, order: np.ndarray) -> None:
    """One pass over the split. `from_numpy` waits, off the loop, while recording is too far ahead of the device."""
    for images, labels in batches(split, batch, order):
        model.step(await owl.aio.from_numpy(images), await owl.aio.from_numpy(labels), rate)
    await owl.aio.gather(*model.parameters().values())


async def accuracy(model: Perceptron, split: Split) -> float:
    """The fraction of the split that the model gets right."""
    misses = []
    for images, labels in batches(split, TEST_BATCH):
        label = await owl.aio.from_numpy(labels)
        misses.append(model.predict(await owl.aio.from_numpy(images)).argmax(0) - label.argmax(0))
    wrong = [np.count_nonzero(await owl.aio.to_numpy(miss)) for miss in misses]
    return 1 - sum(wrong) / len(split)


async def heartbeat(lag: owl.aio.LagMonitor, seconds: float) -> None:
    """Says now and then how the loop fares."""
    while True:
        await asyncio.sleep(seconds)
        print(f"  heartbeat: worst loop lag so far {lag.worst * 1e3:.1f} ms", flush=True)


async def train(options: argparse.Namespace) -> None:
    """Trains beside a heartbeat and prints the accuracy after each epoch."""
    dataset = await asyncio.to_thread(data.load, options.data)
    print(f"data: {dataset.source}", flush=True)
    model = Perceptron()
    random = np.random.default_rng(options.seed)
    loop = asyncio.get_running_loop()
    async with owl.aio.LagMonitor() as lag:
        beat = asyncio.create_task(heartbeat(lag, options.heartbeat))
        try:
            for epoch in range(1, options.epochs + 1):
                begin = loop.time()
                order = random.permutation(len(dataset.train))
                await train_epoch(model, dataset.train, options.batch, options.lr, order)
                seconds = loop.time() - begin
                right = await accuracy(model, dataset.test)
                rate = len(dataset.train) / seconds
                print(f"epoch {epoch}: test accuracy {right:.2%}, {rate:,.0f} images/s", flush=True)
        finally:
            beat.cancel()
    print(f"worst loop lag {lag.worst * 1e3:.1f} ms", flush=True)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = Parser(description="Train a perceptron on MNIST in an asyncio program.")
    parser.add_argument("--data", metavar="PATH", help="as for python -m owl.apps.mnist")
    parser.add_argument("--epochs", type=at_least(0), default=3, help="default: %(default)s")
    parser.add_argument("--batch", type=at_least(1), default=256, help="images in a mini-batch (default: %(default)s)")
    parser.add_argument("--lr", type=positive, default=Perceptron.rate, help="learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=at_least(0), default=0, help="default: %(default)s")
    parser.add_argument("--heartbeat", type=positive, default=1.0, metavar="SECONDS", help="default: %(default)s")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run with ``argv`` (default: the process's) and return the exit code."""
    options = parse_options(argv)
    owl.set_device(owl.create_cpu_device())
    owl.seed(options.seed)
    try:
        owl.aio.run(train(options))
    except owl.OwlError as error:
        print(f"mnist_async.py: error: {error}", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
