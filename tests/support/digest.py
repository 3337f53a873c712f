"""Every bit that owl computes in a set of programs, as hashes that a change of its structure must not change.

``python -m tests.support.digest`` compares with ``digest.json``, which was written by the commit that it names;
``--device remote`` compares those of another kind of device, and
``--write COMMIT`` writes it anew: only where bits are meant to change. Instruction sets with fused multiply-add share
their hashes; the generic set rounds products before it adds them and has its own.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import owl
import owl.conv as conv
from owl import _runtime
from owl.apps.mnist.model.base import Model
from owl.apps.mnist.model.cnn import ConvolutionNet
from owl.apps.mnist.model.mlp import Perceptron
from owl.testing.fuzz.player import Player
from owl.testing.fuzz.run import written
from owl.testing.fuzz.writer import traced
from tests.planner.harness import in_fresh_thread
from tests.planner.loops import LOOPS
from tests.support import devices

FILE = Path(__file__).with_suffix(".json")
BATCHES, BATCH = 6, 96
LOOP_STEPS, LOOP_BATCH = 18, 16
PROGRAMS, PROGRAMS_SEED, PROGRAMS_TOGETHER = 500, 13, 50

# Channels in, filters, side, kernel, padding, stride, dilation, groups: each algorithm and each kind of remainder.
CONVOLUTIONS = (
    (3, 20, 17, 3, 1, 1, 1, 1),
    (16, 24, 14, 3, 1, 1, 1, 1),
    (16, 16, 15, 3, 0, 2, 1, 1),
    (8, 8, 13, 3, 2, 1, 2, 1),
    (24, 24, 9, 3, 1, 1, 1, 24),
    (12, 18, 9, 5, 2, 1, 1, 3),
    (40, 17, 7, 1, 0, 1, 1, 1),
    (1, 16, 28, 5, 0, 1, 1, 1),
)


def family() -> str:
    """Which of the two sets of hashes this machine's kernels give."""
    return "generic" if "generic" in _runtime.config()["instruction set"] else "fma"


def hashed(values: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        found = value if isinstance(value, str) else np.ascontiguousarray(value)
        digest.update(found.encode() if isinstance(found, str) else f"{found.dtype}{found.shape}".encode())
        digest.update(b"" if isinstance(found, str) else found.tobytes())
    return digest.hexdigest()


def net(make: Callable[[], Model]) -> Iterator[np.ndarray]:
    """What each step gives, and the parameters after the last."""
    rng = np.random.default_rng(1)
    owl.seed(1)
    model = make()
    for _ in range(BATCHES):
        images = rng.random((BATCH, 784), np.float32)
        label = np.eye(10, dtype=np.float32)[rng.integers(0, 10, BATCH)]
        yield model.step(owl.from_numpy(images), owl.from_numpy(label), model.rate).to_numpy()
    for value in model.parameters().values():
        yield value.to_numpy()


def convolutions() -> Iterator[np.ndarray]:
    """Single convolutions, forward and both ways back, in both dtypes."""
    for channels, filters, side, kernel, pad, stride, dilation, groups in CONVOLUTIONS:
        for dtype in (np.float32, np.float64):
            rng = np.random.default_rng(side)
            x = owl.from_numpy(rng.standard_normal((5, channels, side, side)).astype(dtype))
            w = owl.from_numpy(rng.standard_normal((filters, channels // groups, kernel, kernel)).astype(dtype))
            b = owl.from_numpy(rng.standard_normal(filters).astype(dtype))
            layer = conv.Convolver(pad, pad, stride, stride, dilation_v=dilation, dilation_h=dilation, groups=groups)
            y = layer.ff(x, w, b)
            g = owl.from_numpy(rng.standard_normal(y.shape[::-1]).astype(dtype))
            yield y.to_numpy()
            yield layer.bp(g, x, w).to_numpy()
            yield layer.weight_grad(g, x, w).to_numpy()
            yield layer.bias_grad(g).to_numpy()


def direct_convolutions() -> Iterator[np.ndarray]:
    """Forward and back to the data, without Winograd's algorithm: what GPUs compute in the order of CPUs."""
    was = _runtime.set_winograd(False)
    try:
        yield from (value for number, value in enumerate(convolutions()) if number % 4 < 2)
    finally:
        _runtime.set_winograd(was)


def programs(first: int, count: int) -> Iterator[Any]:
    """What a range of the fuzzer's programs shows."""
    loop = asyncio.new_event_loop()
    try:
        for number in range(first, first + count):
            program, _ = written(PROGRAMS_SEED, number)
            trace, _ = traced(program, number)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "recording is too far ahead")
                yield from Player(loop).play(trace, number)
    finally:
        loop.close()


def parts() -> dict[str, Callable[[], str]]:
    """The digest's parts by name."""
    found: dict[str, Callable[[], str]] = {
        "net: perceptron": lambda: hashed(net(Perceptron)),
        "net: convolution": lambda: hashed(net(ConvolutionNet)),
        "convolutions": lambda: hashed(convolutions()),
        "direct convolutions": lambda: hashed(direct_convolutions()),
    }
    for loop in LOOPS:
        found[f"loop: {loop.name}"] = lambda loop=loop: hashed(
            in_fresh_thread(lambda: loop.run(range(LOOP_STEPS), LOOP_BATCH))
        )
    for first in range(0, PROGRAMS, PROGRAMS_TOGETHER):
        last = first + PROGRAMS_TOGETHER - 1
        found[f"programs: {first} to {last}"] = lambda first=first: hashed(programs(first, PROGRAMS_TOGETHER))
    return found


def wanted() -> dict[str, str]:
    """The hashes that this machine's kernels must give."""
    return json.loads(FILE.read_text())[family()]


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares every bit with those of an earlier commit.")
    parser.add_argument("--write", metavar="COMMIT", help="write the hashes of this commit instead")
    parser.add_argument("--device", choices=tuple(devices.DEVICES), default="cpu", help="what computes (cpu)")
    arguments = parser.parse_args()
    devices.choose(arguments.device)
    owl.set_device(devices.new_device())
    found = {name: part() for name, part in parts().items()}
    if arguments.write:
        kept = json.loads(FILE.read_text()) if FILE.exists() else {}
        FILE.write_text(json.dumps(kept | {"commit": arguments.write, family(): found}, indent=1) + "\n")
        return 0
    different = [name for name, value in wanted().items() if found[name] != value]
    for name in different:
        print(f"{name}: other bits", file=sys.stderr)
    print(
        f"{len(found) - len(different)} of {len(found)} parts have the bits of {json.loads(FILE.read_text())['commit']}"
    )
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
