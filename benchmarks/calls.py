"""Single calls of owl and of PyTorch, case by case: the part that `benchmarks.layers` and `products` share."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from benchmarks.harness import TUNED_MALLOC, Idleness, Worker, circumstances, interleave, serve, threads

Calls = Mapping[str, Callable[[], Any]]  # what is measured, by name; each returns its result when it has ended
Read = Callable[[Any], np.ndarray]

TOLERANCE = 1e-4  # of the greatest number of a result


def serve_calls(make: Callable[[str], tuple[Calls, Read]]) -> None:
    """A contestant's process. ``make(case)`` gives its calls, and how to read a result; it knows one case at a time."""
    calls: Calls = {}
    read: Read = np.asarray

    def prepare(case: str) -> None:
        nonlocal calls, read
        calls = {}  # its arrays go before those of the next case come
        calls, read = make(case)

    def sample(call: str) -> list[float]:
        """Some of the result's numbers, the same places in each process."""
        result = read(calls[call]()).ravel()
        places = np.random.default_rng(1).integers(0, result.size, 1000)
        return [float(number) for number in result[places]]

    def measure(call: str, seconds: float) -> float:
        """Seconds for each call, over as many calls as take about `seconds`."""
        function, count = calls[call], 0
        start = time.perf_counter()
        while True:
            function()
            count += 1
            spent = time.perf_counter() - start
            if spent >= seconds:
                return spent / count

    serve({"prepare": prepare, "sample": sample, "measure": measure})


def waiting(record: Callable[[], Any]) -> Callable[[], Any]:
    """The call in owl: recorded, and waited for."""

    def call() -> Any:
        result = record()
        result.wait_for_eval()
        return result

    return call


def _check(workers: Mapping[str, Worker], case: str, call: str) -> None:
    samples = {name: np.array(worker.call("sample", call=call)) for name, worker in workers.items()}
    for name, found in samples.items():
        error = np.abs(found - samples["owl"]).max() / np.abs(samples["owl"]).max()
        if not error < TOLERANCE:
            sys.exit(f"{case}, {call}: {name} and owl differ by {error:.1e} of the greatest number")


def main(
    module: str,
    description: str | None,
    contestants: Mapping[str, Callable[[str], tuple[Calls, Read]]],
    cases: Mapping[str, float],
    calls: Sequence[str],
    unit: str,
) -> None:
    """The program: as a worker, a contestant's process; otherwise it prints a table of owl against its peers.

    `contestants` has for each name what makes the calls of a case; all but "owl" are peers, of which the fastest counts
    in each row. `cases` has the names of the cases, and how many additions and multiplications each call makes there.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns for each contestant")
    parser.add_argument("--seconds", type=float, default=0.05, help="a turn's length")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--worker", choices=[*contestants], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve_calls(contestants[options.worker])
        return
    chosen = {case: operations for case, operations in cases.items() if options.only in case}
    compete(module, [*contestants], chosen, calls, unit, options.rounds, options.seconds)


def compete(
    module: str,
    contestants: Sequence[str],
    cases: Mapping[str, float],
    calls: Sequence[str],
    unit: str,
    rounds: int,
    seconds: float,
) -> None:
    """Measures, row by row, and prints the table."""
    scale = {"µs": 1e6, "ms": 1e3}[unit]
    peers = [name for name in contestants if name != "owl"]
    print(f"| | | owl, {unit} | GFLOP/s | PyTorch, {unit} | best as | speed against PyTorch |")
    print("|---|---|---:|---:|---:|---|---:|")
    with ExitStack() as stack:
        idleness = stack.enter_context(Idleness())
        workers = {}
        for name in contestants:
            env = {"OMP_NUM_THREADS": str(threads()), **({} if name == "owl" else TUNED_MALLOC)}
            workers[name] = stack.enter_context(Worker(module, name, env=env))

        def turn(worker: Worker, call: str) -> Callable[[], float]:
            return lambda: worker.call("measure", call=call, seconds=seconds)

        for case, operations in cases.items():
            for worker in workers.values():
                worker.call("prepare", case=case)
            for call in calls:
                _check(workers, case, call)
                turns = {name: turn(worker, call) for name, worker in workers.items()}
                interleave(turns, 1)  # warm-up
                spent = interleave(turns, rounds)
                median = {name: statistics.median(values) for name, values in spent.items()}
                peer = min(peers, key=lambda name: median[name])
                ratio = statistics.median(other / own for other, own in zip(spent[peer], spent["owl"]))
                rate = operations / median["owl"] / 1e9
                own, other = (f"{median[name] * scale:.{2 if unit == 'ms' else 1}f}" for name in ("owl", peer))
                first = case if call == calls[0] else ""
                print(f"| {first} | {call} | {own} | {rate:.0f} | {other} | {peer} | {ratio:.2f} |", flush=True)
    print()
    print(circumstances(idleness))
