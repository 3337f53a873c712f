"""What a service sees of a GPU: awaits, the event loop's lag beside training, and an epoch with loading.

An epoch is trained from a `Pipeline` that stacks batches in pinned memory, against the same copies without computing,
and the same computing on one batch that is there already.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.harness import Idleness, circumstances

PROBE = 0.001  # seconds that the loop is asked to sleep


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--awaits", type=int, default=1000, help="in a round")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=3, help="of training, while the loop's lag is watched")
    parser.add_argument("--side", type=int, default=2048, help="of the matrices that are multiplied meanwhile")
    parser.add_argument("--batches", type=int, default=200, help="of an epoch")
    parser.add_argument("--batch", type=int, default=4096, help="images in a batch")


def run(options: argparse.Namespace) -> None:
    import owl
    import owl.aio

    gpu = owl.create_gpu_device(0)
    owl.set_device(gpu)
    with Idleness() as idleness:
        alone, gathered = asyncio.run(awaits(owl, options))
        lag = asyncio.run(lag_beside_training(owl, options))
        copying, computing, epoch = (
            seconds(gpu, options, *which) for which in ((True, False), (False, True), (True, True))
        )
    print("| | |\n|---|---:|")
    print(f"| an await alone | {alone * 1e6:.1f} µs |")
    print(f"| an await of {options.awaits} in one gather | {gathered * 1e6:.1f} µs |")
    print(f"| loop lag beside training, median and p99 | {lag[0] * 1e3:.2f} and {lag[1] * 1e3:.2f} ms |")
    print(f"| an epoch: loading and copying alone | {copying:.3f} s |")
    print(f"| an epoch: computing alone | {computing:.3f} s |")
    print(f"| an epoch: both | {epoch:.3f} s, {epoch / max(copying, computing):.2f} of the longer one |")
    print()
    print(circumstances(idleness, ("owl-runtime", "numpy")))


async def awaits(owl: Any, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds per await: one after the other, and all at once."""
    x = await (owl.ones([16]) + 0)

    async def one() -> None:
        await (x + 1)

    found: dict[str, list[float]] = {"alone": [], "gathered": []}
    for _ in range(options.rounds + 1):
        begin = time.perf_counter()
        for _ in range(options.awaits):
            await one()
        found["alone"].append((time.perf_counter() - begin) / options.awaits)
        begin = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(options.awaits)))
        found["gathered"].append((time.perf_counter() - begin) / options.awaits)
    return statistics.median(found["alone"][1:]), statistics.median(found["gathered"][1:])


async def lag_beside_training(owl: Any, options: argparse.Namespace) -> tuple[float, float]:
    """How much later than asked a task wakes up while the GPU always has work: median and 99th percentile."""
    lags: list[float] = []
    working = True

    async def probe() -> None:
        while working:
            begin = time.perf_counter()
            await asyncio.sleep(PROBE)
            lags.append(time.perf_counter() - begin - PROBE)

    watching = asyncio.create_task(probe())
    w = owl.randn([options.side, options.side], 0, 0.01)
    x = owl.randn([options.side, options.side], 0, 1)
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end:
        x = owl.elewise.tanh(w * x)
        await x.eval()
    working = False
    await watching
    lags.sort()
    return statistics.median(lags), lags[int(len(lags) * 0.99)]


def seconds(gpu: Any, options: argparse.Namespace, loads: bool, computes: bool) -> float:
    """Of an epoch of the perceptron."""
    import owl
    import owl.aio
    from benchmarks.step import INPUTS, NAMES, OUTPUTS, initial_parameters

    images = np.random.default_rng(0).random((options.batch * 4, INPUTS), np.float32)
    labels = np.eye(OUTPUTS, dtype=np.float32)[np.arange(options.batch * 4) % OUTPUTS]
    w1, b1, w2, b2 = (owl.from_numpy(initial_parameters()[name]) for name in NAMES)
    rate = 0.1 / options.batch

    def train(data: Any, label: Any) -> None:
        nonlocal w1, b1, w2, b2
        a1 = owl.elewise.relu(w1 * data + b1)
        s2 = owl.conv.softmax(w2 * a1 + b2) - label
        s1 = owl.elewise.relu_back(w2.trans() * s2, a1)
        gw1, gw2, gb1, gb2 = s1 * data.trans(), s2 * a1.trans(), s1.sum(1), s2.sum(1)
        w1, w2, b1, b2 = w1 - rate * gw1, w2 - rate * gw2, b1 - rate * gb1, b2 - rate * gb2

    async def epoch(count: int) -> None:
        fixed = owl.from_numpy(images[: options.batch]), owl.from_numpy(labels[: options.batch])
        if not loads:
            for _ in range(count):
                train(*fixed)
                await asyncio.sleep(0)
        else:
            parts = [slice(k * options.batch, (k + 1) * options.batch) for k in range(4)]
            loaded = ((images[parts[k % 4]], labels[parts[k % 4]]) for k in range(count))
            async for data, label in owl.aio.Pipeline(loaded).to_device(gpu).prefetch(2):
                if computes:
                    train(data, label)
        owl.wait_for_all()

    asyncio.run(epoch(max(4, options.batches // 10)))  # plans are made, and memory is there
    begin = time.perf_counter()
    asyncio.run(epoch(options.batches))
    return time.perf_counter() - begin
