"""One training step of a 784-256-10 perceptron on a batch of 256, the copy of the numpy batch included.

owl runs a classic script's code; PyTorch runs a step tuned by hand (see peers.py). Before anything is timed, all of
them train on the same batches, and what they have added to the weights must agree.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from benchmarks.harness import Idleness, Worker, circumstances, interleave, serve, table, threads

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


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    """Images of noise, labelled by a linear rule, so that there is something to learn."""
    rng = np.random.default_rng(0)
    rule = rng.standard_normal((INPUTS, OUTPUTS), dtype=np.float32)
    data = [rng.random((BATCH, INPUTS), dtype=np.float32) for _ in range(BATCHES)]
    return [(x, np.eye(OUTPUTS, dtype=np.float32)[((x - 0.5) @ rule).argmax(1)]) for x in data]


class OwlStep:
    """The step as a classic script writes it."""

    def __init__(self, parameters: dict[str, np.ndarray], rate: float, threads: int) -> None:
        import owl
        from owl import conv, elewise

        owl.set_num_threads(threads)
        owl.set_device(owl.create_cpu_device())
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
    data = batches()
    step = make(initial_parameters(), RATE, cores)
    position = 0

    def train(steps: int) -> float:
        """Seconds for each of `steps` steps, from the first one's batch to the end of the last one's update."""
        nonlocal position
        start = time.perf_counter()
        for _ in range(steps):
            step(*data[position])
            position = (position + 1) % BATCHES
        step.finish()
        return (time.perf_counter() - start) / steps

    def change() -> dict[str, list[float]]:
        """What training has added to each parameter."""
        initial = initial_parameters()
        return {
            name: (value.reshape(initial[name].shape).astype(np.float64) - initial[name]).ravel().tolist()
            for name, value in step.parameters().items()
        }

    serve({"train": train, "change": change})


def check(workers: dict[str, Worker], steps: int = CHECKED_STEPS) -> None:
    """Trains a little with each contestant, and ends the program unless all have learned the same."""
    changes = {}
    for name, worker in workers.items():
        worker.call("train", steps=steps)
        changes[name] = {parameter: np.array(value) for parameter, value in worker.call("change").items()}
    reference = next(name for name in workers if name != "owl")
    for name, change in changes.items():
        for parameter, value in change.items():
            expected = changes[reference][parameter]
            error = np.linalg.norm(value - expected) / np.linalg.norm(expected)
            if not error < TOLERANCE:
                sys.exit(f"{name} and {reference} have learned different {parameter}: relative error {error:.1e}")
    print(f"After {steps} steps the changes of all weights agree to {TOLERANCE}.\n", flush=True)


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

    from benchmarks.peers import TUNED_MALLOC

    names = ["owl", "tuned", *(["autograd"] if options.autograd else [])][1 if options.peers_only else 0 :]
    with ExitStack() as stack:
        idleness = stack.enter_context(Idleness())
        workers = {}
        for name in names:
            # PyTorch reads its number of threads from the environment before it is told; owl brings its own pools.
            env = {"OMP_NUM_THREADS": str(options.threads), **({} if name == "owl" else TUNED_MALLOC)}
            worker = Worker("benchmarks.step", name, "--threads", str(options.threads), env=env)
            workers[name] = stack.enter_context(worker)
        check(workers)

        def turn(worker: Worker) -> Callable[[], float]:
            return lambda: worker.call("train", steps=options.steps)

        contestants = {CONTESTANTS[name]: turn(worker) for name, worker in workers.items()}
        interleave(contestants, 1)  # warm-up
        seconds = interleave(contestants, options.rounds)

    print(table(seconds, CONTESTANTS["tuned"]), end="\n\n")
    print(circumstances(idleness))


if __name__ == "__main__":
    main()
