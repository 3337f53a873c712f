"""One training step of MNIST's convolution net on a batch of 256, the copy of the numpy batch included.

The net: convolution 5x5 to 16 channels, relu, pooling 2x2, convolution 5x5 to 32 channels with padding, relu, pooling
3x3, a matrix, softmax. owl runs a classic script's code; PyTorch a step tuned by hand (see peers_cnn.py). Before
anything is timed, both train on the same batches, and what they have added to the weights must agree.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contest import compete, serve_step
from benchmarks.harness import threads
from benchmarks.step import BATCH, TOLERANCE

BATCHES = 32
RATE = 0.01 / BATCH  # on summed gradients; higher rates magnify rounding too fast for a comparison
CHECKED_STEPS = 5  # few: rounding decides which of two nearly equal pixels a pooling takes
CONTESTANTS = {"owl": "owl", "tuned": "PyTorch, channels last, tuned by hand"}
SHAPES = {"w1": (16, 1, 5, 5), "b1": (16,), "w2": (32, 16, 5, 5), "b2": (32,), "w3": (512, 10), "b3": (1, 10)}


def initial_parameters() -> dict[str, np.ndarray]:
    """As owl takes them: filters ``[out, in, h, w]``, the matrix row-major ``[inputs, outputs]``."""
    rng = np.random.default_rng(1)
    return {
        name: (0.1 * rng.standard_normal(shape) if name[0] == "w" else np.zeros(shape)).astype(np.float32)
        for name, shape in SHAPES.items()
    }


def batches(size: int = BATCH, count: int = BATCHES) -> list[tuple[np.ndarray, np.ndarray]]:
    """Noisy images with a bright band whose height is the digit."""
    rng = np.random.default_rng(0)
    rows = np.arange(28)
    out = []
    for _ in range(count):
        digits = rng.integers(0, 10, size)
        band = (rows >= 2 * digits[:, None] + 4) & (rows < 2 * digits[:, None] + 7)
        x = rng.uniform(0, 0.3, (size, 28, 28)) + 0.6 * band[:, :, None]
        out.append((x.reshape(size, 784).astype(np.float32), np.eye(10, dtype=np.float32)[digits]))
    return out


class OwlNet:
    """The step as a classic script writes it."""

    def __init__(self, parameters: dict[str, np.ndarray], rate: float, threads: int, device: str = "cpu") -> None:
        import owl
        from owl import conv, elewise

        owl.set_num_threads(threads)
        owl.set_device(owl.create_gpu_device(0) if device == "gpu" else owl.create_cpu_device())
        self.owl, self.ele, self.conv = owl, elewise, conv
        self.rate = rate
        self.convs = [conv.Convolver(0, 0, 1, 1), conv.Convolver(2, 2, 1, 1)]
        self.poolings = [conv.Pooler(2, 2, 2, 2), conv.Pooler(3, 3, 3, 3)]
        self.weights = [owl.from_numpy(parameters[name]) for name in ("w1", "w2", "w3")]
        self.bias = [owl.from_numpy(parameters[name]) for name in ("b1", "b2", "b3")]

    def __call__(self, x: np.ndarray, y: np.ndarray) -> None:
        ele, convs, poolings, weights, bias = self.ele, self.convs, self.poolings, self.weights, self.bias
        data = self.owl.from_numpy(x).reshape([28, 28, 1, len(x)])
        label = self.owl.from_numpy(y)
        a1 = ele.relu(convs[0].ff(data, weights[0], bias[0]))
        p1 = poolings[0].ff(a1)
        a2 = ele.relu(convs[1].ff(p1, weights[1], bias[1]))
        p2 = poolings[1].ff(a2)
        features = p2.reshape([512, len(x)])
        s3 = self.conv.softmax(weights[2] * features + bias[2], self.conv.soft_op.instance) - label
        e2 = (weights[2].trans() * s3).reshape(p2.shape)
        s2 = ele.relu_back(poolings[1].bp(e2, p2, a2), a2)
        e1 = convs[1].bp(s2, p1, weights[1])
        s1 = ele.relu_back(poolings[0].bp(e1, p1, a1), a1)
        weightgrad = [convs[0].weight_grad(s1, data, weights[0]), convs[1].weight_grad(s2, p1, weights[1])]
        weightgrad.append(s3 * features.trans())
        biasgrad = [convs[0].bias_grad(s1), convs[1].bias_grad(s2), s3.sum(1)]
        for k in range(3):
            weights[k] -= self.rate * weightgrad[k]
            bias[k] -= self.rate * biasgrad[k]

    def finish(self) -> None:
        self.owl.wait_for_all()

    def parameters(self) -> dict[str, np.ndarray]:
        arrays = dict(zip(("w1", "w2", "w3", "b1", "b2", "b3"), [*self.weights, *self.bias]))
        return {name: array.to_numpy() for name, array in arrays.items()}


def work(contestant: str, cores: int) -> None:
    """A contestant's process."""
    make: Callable[..., Any] = OwlNet
    if contestant == "tuned":
        from benchmarks import peers_cnn

        make = peers_cnn.TunedNet
    serve_step(make(initial_parameters(), RATE, cores), initial_parameters(), batches())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="turns for each contestant")
    parser.add_argument("--steps", type=int, default=30, help="steps in a turn, timed as one")
    parser.add_argument("--threads", type=int, default=threads(), help="threads for each contestant")
    parser.add_argument("--worker", choices=[*CONTESTANTS], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.threads)
        return
    compete(
        "benchmarks.step_cnn",
        CONTESTANTS,
        "tuned",
        checked_steps=CHECKED_STEPS,
        tolerance=TOLERANCE,
        steps=options.steps,
        rounds=options.rounds,
        threads=options.threads,
    )


if __name__ == "__main__":
    main()
