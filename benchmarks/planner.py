"""What the planner makes of unannotated loops: known plans, windows and bytes stored.

The loops are those of tests/planner/loops.py. Their figures are counted over the second half of each loop, with closed
windows left to settle, so they are the same on every machine; the timing is not. What recording costs is measured by
benchmarks.record.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time

from benchmarks.harness import Idleness, Worker, circumstances, serve

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
            in_fresh_thread(functools.partial(loop.run, steps, batch))
        compiled = (steps.end["plans"] - steps.end["hits"]) - (before["plans"] - before["hits"])
        windows = steps.second_half("windows") / (loop.steps - loop.steps // 2)
        stored = steps.stored_per_step / 1024
        rows.append(f"| {loop.name} | {steps.hit_rate:.3f} | {windows:.3g} | {compiled} | {stored:.1f} |")
    return "\n".join(rows)


def hit_cost(rounds: int) -> float:
    """Median microseconds from the last recorded operation of a 30-node window to its executor, on a hit."""
    import owl

    owl.set_device(owl.create_cpu_device())
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
    return statistics.median(costs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256, help="inputs in a batch")
    parser.add_argument("--rounds", type=int, default=300, help="repetitions of the timing in each process")
    parser.add_argument("--processes", type=int, default=7, help="processes that time it, one after the other")
    parser.add_argument("--worker", choices=["hit"], help=argparse.SUPPRESS)
    parser.add_argument("loops", nargs="*", help="names of loops; all by default")
    options = parser.parse_args()
    if options.worker:
        serve({"hit": hit_cost})
        return

    import owl

    owl.set_device(owl.create_cpu_device())
    with Idleness() as idleness:
        table = loop_table(options.batch, options.loops)
        # Where the system puts two threads on two cores decides much of it, so one process is not enough.
        hits = []
        for _ in range(options.processes):
            with Worker("benchmarks.planner", "hit") as worker:
                hits.append(worker.call("hit", rounds=options.rounds))
    print(table, end="\n\n")
    print(
        f"A known window of {WINDOW} operations, from the last one to the executor, medians of {len(hits)} processes: "
    )
    print(f"{min(hits):.2f} to {max(hits):.2f} µs, in the middle {statistics.median(hits):.2f} µs\n")
    print(circumstances(idleness))


if __name__ == "__main__":
    main()
