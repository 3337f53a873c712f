"""What the compilation of a large plan holds up: other threads' operations while one thread submits 4,000 new ones.

One thread records a chain of operations on arrays of a new size and starts its evaluation, again and again: each time a
plan that is not known. Meanwhile a second thread times operations of its own: *recorded*, one element-wise operation
recorded and dropped; *computed*, a small sum that is recorded, run by a known plan on another device, and waited for.
Those count that begin and end while the first thread starts its evaluation. Of each plan the longest is kept: that is
how long anything was held up. *Alone* is the longest of as long a time without the first thread: what the system does
by itself.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.harness import Idleness, circumstances


def de_bruijn(letters: int, length: int) -> list[int]:
    """A sequence of numbers below `letters` in which each word of this length comes once, but for those at its end.

    The greedy way: the largest letter that makes no word twice.
    """
    sequence = [0] * length
    seen = {tuple(sequence)}
    while True:
        before = tuple(sequence[len(sequence) - length + 1 :])
        letter = next((x for x in range(letters - 1, -1, -1) if (*before, x) not in seen), None)
        if letter is None:
            return sequence
        seen.add((*before, letter))
        sequence.append(letter)


class Submitter(threading.Thread):
    """Submits plans of so many operations, each new; `busy` is the plan's number while it does, and else 0."""

    sizes = itertools.count(16)

    def __init__(self, operations: int, plans: int) -> None:
        super().__init__(daemon=True)
        self.operations, self.plans = operations, plans
        self.busy = 0
        self.seconds: list[float] = []

    def run(self) -> None:
        import owl.testing

        ele = owl.elewise
        steps = [ele.tanh, ele.sigm, ele.relu, ele.abs, ele.exp, lambda y: y * 0.5, lambda y: y - 1, lambda y: -y]
        # No four operations come twice: nothing looks like a loop, so the whole chain is one window.
        chain = de_bruijn(len(steps), 4)[: self.operations]
        with owl.testing.bounds(nodes=10 * self.operations):
            for plan in range(1, self.plans + 1):
                y = owl.ones([next(self.sizes)])
                for number in chain:
                    y = steps[number](y)
                start = time.perf_counter()
                self.busy = plan
                y.start_eval()
                self.busy = 0
                self.seconds.append(time.perf_counter() - start)
                y.wait_for_eval()


def ways() -> dict[str, Callable[[], Any]]:
    import owl

    device = owl.create_cpu_device()
    with device:
        x = owl.ones([16])
    x.wait_for_eval()

    def recorded() -> None:
        x + 1

    def computed() -> None:
        with device:
            (x * 2 + 1).sum().wait_for_eval()

    return {"recorded": recorded, "computed": computed}


def alone(way: Callable[[], Any], stretch: float, stretches: int) -> list[float]:
    """The longest timing in each of many stretches of time."""
    longest = []
    for _ in range(stretches):
        worst, until = 0.0, time.perf_counter() + stretch
        while (start := time.perf_counter()) < until:
            way()
            worst = max(worst, time.perf_counter() - start)
        longest.append(worst)
    return longest


def beside(way: Callable[[], Any], operations: int, plans: int) -> tuple[list[float], list[float]]:
    """The longest timing beside each plan, and the seconds that starting each took."""
    submitter = Submitter(operations, plans)
    longest: dict[int, float] = {}
    submitter.start()
    while submitter.is_alive():
        if not submitter.busy:
            time.sleep(0)
            continue
        start = time.perf_counter()
        plan = submitter.busy
        way()
        took = time.perf_counter() - start
        if plan and submitter.busy == plan:
            longest[plan] = max(longest.get(plan, 0.0), took)
    return list(longest.values()), submitter.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=4000, help="of a plan, up to 4096")
    parser.add_argument("--plans", type=int, default=300, help="new ones for each row")
    options = parser.parse_args()

    import owl

    owl.set_device(owl.create_cpu_device())
    sys.setswitchinterval(50e-6)  # the thread that submits comes back to Python soon after it is done
    rows = ["| longest operation, µs | median | 99 % | worst | plans |", "|---|---:|---:|---:|---:|"]
    with Idleness() as idleness:
        for name, way in ways().items():
            alone(way, 0.1, 1)
            held, starting = beside(way, options.operations, options.plans)
            quiet = alone(way, statistics.median(starting), options.plans)
            for label, seconds in ((f"{name}, alone", quiet), (f"{name}, beside a new plan", held)):
                figures = statistics.median(seconds), statistics.quantiles(seconds, n=100)[98], max(seconds)
                rows.append(f"| {label} | " + " | ".join(f"{x * 1e6:.0f}" for x in figures) + f" | {len(seconds)} |")
    print("\n".join(rows))
    taken = statistics.median(starting) * 1e3
    print(f"\nStarting an evaluation of {options.operations} new operations takes {taken:.1f} ms.\n")
    print(circumstances(idleness, ("owl-runtime", "numpy")))


if __name__ == "__main__":
    main()
