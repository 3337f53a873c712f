"""One training step of a 784-256-10 perceptron on a batch of 256, the copy of the numpy batch included.

owl runs a classic script's code; PyTorch runs a step tuned by hand (see peers.py). Before anything is timed, all of
them train on the same batches, and what they have added to the weights must agree.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contest import compete, serve_step
from benchmarks.harness import threads

INPUTS, HIDDEN, OUTPUTS, BATCH = 784, 256, 10, 256
BATCHES = 64  # 51 MB: a step finds its batch in memory or the last cache, as in training
RATE = 0.1 / BATCH  # on summed gradients
TOLERANCE = 1e-3
# Later on, a relu whose input is near 0 falls on either side by a rounding, in float32 with any library, and the two
# trainings part; seen from step 60 on.
CHECKED_STEPS = 20

CONTESTANTS = {"owl": "owl", "tuned": "PyTorch, tuned by hand", "autograd": "PyTorch, autograd and SGD"}
NAMES = ("w1", "b1", "w2", "b2")


def initial_parameters() -> dict[str, np.ndarray]:
    """Row-major ``[inputs, outputs]``, which owl takes as column-major ``[outputs, inputs]``."""
    rng = np.random.default_rng(1)
    return {
        "w1": (0.05 * rng.standard_normal((INPUTS, HIDDEN))).astype(np.float32),
        "b1": np.zeros((1, HIDDEN), np.float32),
        "w2": (0.05 * rng.standard_normal((HIDDEN, OUTPUTS))).astype(np.float32),
        "b2": np.zeros((1, OUTPUTS), np.float32),
    }


def batches(size: int = BATCH, count: int = BATCHES) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images of noise, labelled by a linear rule, so that there is something to learn."""
    rng = np.random.default_rng(0)
    rule = rng.standard_normal((INPUTS, OUTPUTS), dtype=np.float32)
    data = [rng.random((size, INPUTS), dtype=np.float32) for _ in range(count)]
    return [(x, np.eye(OUTPUTS, dtype=np.float32)[((x - 0.5) @ rule).argmax(1)]) for x in data]


class OwlStep:
    """The step as a classic script writes it."""

    def __init__(self, parameters: dict[str, np.ndarray], rate: float, threads: int, device: str = "cpu") -> None:
        import owl
        from owl import conv, elewise

        owl.set_num_threads(threads)
        owl.set_device(owl.create_gpu_device(0) if device == "gpu" else owl.create_cpu_device())
        self.owl, self.ele, self.co = owl, elewise, conv
        self.rate = rate
        self.w1, self.b1, self.w2, self.b2 = (owl.from_numpy(parameters[name]) for name in NAMES)

    def __call__(self, x: np.ndarray, y: np.ndarray) -> None:
        owl, ele, co = self.owl, self.ele, self.co
        data = owl.from_numpy(x)
        label = owl.from_numpy(y)
        a1 = ele.relu(self.w1 * data + self.b1)
        a2 = co.softmax(self.w2 * a1 + self.b2, co.soft_op.instance)
        s2 = a2 - label
        s1 = ele.relu_back(self.w2.trans() * s2, a1)
        gw2 = s2 * a1.trans()
        gw1 = s1 * data.trans()
        gb2 = s2.sum(1)
        gb1 = s1.sum(1)
        self.w1 -= self.rate * gw1
        self.w2 -= self.rate * gw2
        self.b1 -= self.rate * gb1
        self.b2 -= self.rate * gb2

    def finish(self) -> None:
        self.owl.wait_for_all()

    def parameters(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name).to_numpy() for name in NAMES}


def work(contestant: str, cores: int) -> None:
    """A contestant's process."""
    make: Callable[..., Any]
    if contestant == "owl":
        make = OwlStep
    else:
        from benchmarks import peers

        make = peers.TunedStep if contestant == "tuned" else peers.AutogradStep
    serve_step(make(initial_parameters(), RATE, cores), initial_parameters(), batches())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="turns for each contestant")
    parser.add_argument("--steps", type=int, default=200, help="steps in a turn, timed as one")
    parser.add_argument("--threads", type=int, default=threads(), help="threads for each contestant")
    parser.add_argument("--autograd", action="store_true", help="PyTorch as it is usually written takes part too")
    parser.add_argument("--peers-only", action="store_true", help="leave owl out")
    parser.add_argument("--worker", choices=[*CONTESTANTS], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.threads)
        return
    left_out = {name for name, out in (("owl", options.peers_only), ("autograd", not options.autograd)) if out}
    compete(
        "benchmarks.step",
        {name: title for name, title in CONTESTANTS.items() if name not in left_out},
        "tuned",
        checked_steps=CHECKED_STEPS,
        tolerance=TOLERANCE,
        steps=options.steps,
        rounds=options.rounds,
        threads=options.threads,
    )


if __name__ == "__main__":
    main()
