"""What the planner makes of unannotated loops: known plans, windows and bytes stored, and what recording costs.

The loops are those of tests/planner/loops.py. Their figures are counted over the second half of each loop, with closed
windows left to settle, so they are the same on every machine; the two timings are not.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from benchmarks.harness import Idleness, circumstances

CHAIN = 500
WINDOW = 30


def loop_table(batch: int, names: list[str]) -> str:
    from owl import _runtime
    from tests.planner.harness import Steps, by_recording_alone, in_fresh_thread
    from tests.planner.loops import LOOPS

    rows = [
        "| loop | hit rate | windows a step | plans compiled | stored outside a step, KB |",
        "|---|---:|---:|---:|---:|",
    ]
    for loop in LOOPS:
        if names and loop.name not in names:
            continue
        _runtime.clear_plans()
        before = _runtime.planner_counters()
        steps = Steps(loop.steps)
        with by_recording_alone():
            in_fresh_thread(lambda loop=loop, steps=steps: loop.run(steps, batch))
        compiled = (steps.end["plans"] - steps.end["hits"]) - (before["plans"] - before["hits"])
        windows = steps.second_half("windows") / (loop.steps - loop.steps // 2)
        stored = steps.stored_per_step / 1024
        rows.append(f"| {loop.name} | {steps.hit_rate:.3f} | {windows:.3g} | {compiled} | {stored:.1f} |")
    return "\n".join(rows)


def recording_cost(operation: Callable, rounds: int) -> tuple[float, float]:
    """Median and best nanoseconds to record an operation on 16 elements, detection, hashing and call sites included."""
    import owl

    costs = []
    for _ in range(rounds):
        owl.wait_for_all()
        x = owl.ones([16])
        start = time.perf_counter()
        for _ in range(CHAIN):
            x = operation(x)
        costs.append((time.perf_counter() - start) / CHAIN * 1e9)
        x.wait_for_eval()
    return statistics.median(costs), min(costs)


def hit_cost(rounds: int) -> tuple[float, float]:
    """Median and best microseconds from the last recorded operation of a 30-node window to its executor, on a hit."""
    import owl

    x = owl.ones([16])
    x.wait_for_eval()
    costs = []
    for _ in range(rounds):
        y = x
        for _ in range(WINDOW):
            y = y + 1.0
        start = time.perf_counter()
        y.start_eval()
        costs.append((time.perf_counter() - start) * 1e6)
        y.wait_for_eval()
    return statistics.median(costs), min(costs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256, help="inputs in a batch")
    parser.add_argument("--rounds", type=int, default=200, help="repetitions of each timing")
    parser.add_argument("loops", nargs="*", help="names of loops; all by default")
    options = parser.parse_args()

    import owl

    owl.set_device(owl.create_cpu_device())
    with Idleness() as idleness:
        table = loop_table(options.batch, options.loops)
        recording = recording_cost(lambda x: x + 1.0, options.rounds)
        hit = hit_cost(options.rounds)
    print(table, end="\n\n")
    print(f"Recording an operation: median {recording[0]:.0f} ns, best {recording[1]:.0f} ns\n")
    print(f"A known window of {WINDOW} operations, from the last one to the executor: ", end="")
    print(f"median {hit[0]:.2f} µs, best {hit[1]:.2f} µs\n")
    print(circumstances(idleness))


if __name__ == "__main__":
    main()
