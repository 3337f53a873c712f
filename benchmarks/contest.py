"""A contest between training steps: each contestant's process trains from the same parameters on the same batches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from benchmarks.harness import TUNED_MALLOC, Idleness, Worker, circumstances, interleave, serve, table

Parameters = dict[str, np.ndarray]


def serve_step(step: Any, initial: Parameters, batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """A contestant's process. ``step(data, label)`` trains once; it has ``finish()`` and ``parameters()``."""
    position = 0

    def train(steps: int) -> float:
        """Seconds for each of `steps` steps, from the first one's batch to the end of the last one's update."""
        nonlocal position
        start = time.perf_counter()
        for _ in range(steps):
            step(*batches[position])
            position = (position + 1) % len(batches)
        step.finish()
        return (time.perf_counter() - start) / steps

    def change() -> dict[str, list[float]]:
        """What training has added to each parameter."""
        return {
            name: (value.reshape(initial[name].shape).astype(np.float64) - initial[name]).ravel().tolist()
            for name, value in step.parameters().items()
        }

    serve({"train": train, "change": change})


def check(workers: dict[str, Worker], steps: int, tolerance: float) -> None:
    """Trains a little with each contestant, and ends the program unless all have learned the same."""
    changes = {}
    for name, worker in workers.items():
        worker.call("train", steps=steps)
        changes[name] = {parameter: np.array(value) for parameter, value in worker.call("change").items()}
    reference = next(name for name in workers if not name.startswith("owl"))
    for name, change in changes.items():
        for parameter, value in change.items():
            expected = changes[reference][parameter]
            error = np.linalg.norm(value - expected) / np.linalg.norm(expected)
            if not error < tolerance:
                sys.exit(f"{name} and {reference} have learned different {parameter}: relative error {error:.1e}")
    print(f"After {steps} steps the changes of all weights agree to {tolerance}.\n", flush=True)


def compete(
    module: str,
    contestants: dict[str, str],
    reference: str,
    *,
    checked_steps: int,
    tolerance: float,
    steps: int,
    rounds: int,
    threads: int,
    arguments: Sequence[str] = (),
) -> None:
    """Checks that all learn the same in `checked_steps`, times `rounds` turns of `steps` steps, and prints the table.

    A contestant's process runs ``module`` with `arguments` and ``--worker NAME``; `contestants` has the names, with
    what they are called in the table, where all are compared with `reference`.
    """
    with ExitStack() as stack:
        idleness = stack.enter_context(Idleness())
        workers = {}
        for name in contestants:
            # PyTorch reads its number of threads from the environment before it is told; owl brings its own pools.
            env = {"OMP_NUM_THREADS": str(threads), **({} if name.startswith("owl") else TUNED_MALLOC)}
            workers[name] = stack.enter_context(
                Worker(module, name, "--threads", str(threads), before=arguments, env=env)
            )
        check(workers, checked_steps, tolerance)

        def turn(worker: Worker) -> Callable[[], float]:
            return lambda: worker.call("train", steps=steps)

        turns = {contestants[name]: turn(worker) for name, worker in workers.items()}
        interleave(turns, 1)  # warm-up
        seconds = interleave(turns, rounds)

    print(table(seconds, contestants[reference]), end="\n\n")
    print(circumstances(idleness, ("owl-runtime", "numpy", "torch", *(["jax"] if "jit" in contestants else []))))
