"""What recording costs: an element-wise operation on 16 elements in owl, against PyTorch's whole operation.

*Recorded* repeats one operation and drops its result when the next is there: what recording itself costs, the call site
included; nothing is left to be computed. *Recorded and handed over* is a chain in which every value is needed by the
next: closing windows, finding their plans and handing them to the executor come on top. PyTorch computes in both.

``python -m benchmarks.record`` also prints what ``import owl`` takes beyond ``import numpy``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import repeat
from typing import Any

from benchmarks.harness import ROOT, Idleness, Worker, circumstances, interleave, serve, table

SIZE = 16
OPERATIONS = ("x + y", "relu(x)")
IMPORT_TIME = "import time, numpy; start = time.perf_counter(); import owl; print(time.perf_counter() - start)"


def repeated(operation: str, x: Any, y: Any, relu: Callable[[Any], Any], count: int) -> tuple[float, Any]:
    """Seconds for each of `count` equal operations on the same operands."""
    if operation == "x + y":
        start = time.perf_counter()
        for _ in repeat(None, count):
            z = x + y
    else:
        start = time.perf_counter()
        for _ in repeat(None, count):
            z = relu(x)
    return (time.perf_counter() - start) / count, z


def chained(operation: str, x: Any, y: Any, relu: Callable[[Any], Any], count: int) -> tuple[float, Any]:
    """Seconds for each of `count` operations, each on the one before: none is dead, so none may be left out."""
    if operation == "x + y":
        start = time.perf_counter()
        for _ in repeat(None, count):
            x = x + y
    else:
        start = time.perf_counter()
        for _ in repeat(None, count):
            x = relu(x)
    return (time.perf_counter() - start) / count, x


WAYS = {"repeated": repeated, "chained": chained}


def measure_owl() -> Callable[[str, str, int, int], float]:
    import owl

    owl.set_device(owl.create_cpu_device())
    x, y = owl.ones([SIZE]), owl.ones([SIZE])

    def measure(way: str, operation: str, count: int, blocks: int) -> float:
        best = float("inf")
        for _ in range(blocks):
            owl.wait_for_all()  # the executor is idle while the next block is recorded
            seconds, end = WAYS[way](operation, x, y, owl.elewise.relu, count)
            end.wait_for_eval()
            best = min(best, seconds)
        return best

    return measure


def measure_torch() -> Callable[[str, str, int, int], float]:
    from benchmarks.peers import small_operations

    x, y, operations = small_operations(SIZE)

    def measure(way: str, operation: str, count: int, blocks: int) -> float:
        return min(WAYS[way](operation, x, y, operations["relu"], count)[0] for _ in range(blocks))

    return measure


def import_seconds(runs: int) -> list[float]:
    """Seconds that ``import owl`` takes in fresh processes that have imported numpy."""
    command = [sys.executable, "-c", IMPORT_TIME]
    return [
        float(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout) for _ in range(runs)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="turns for each contestant")
    parser.add_argument("--count", type=int, default=500, help="operations in a block, timed as one")
    parser.add_argument("--blocks", type=int, default=20, help="blocks in a turn, of which the best counts")
    parser.add_argument("--worker", choices=["owl", "PyTorch"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve({"measure": measure_owl() if options.worker == "owl" else measure_torch()})
        return

    module = "benchmarks.record"
    tables = []
    with Idleness() as idleness, Worker(module, "owl") as owl, Worker(module, "PyTorch") as torch:
        for operation in OPERATIONS:

            def turn(worker: Worker, way: str, operation: str = operation) -> Callable[[], float]:
                what = {"way": way, "operation": operation, "count": options.count, "blocks": options.blocks}
                return lambda: worker.call("measure", **what)

            contestants = {
                "owl, recorded": turn(owl, "repeated"),
                "owl, recorded and handed over": turn(owl, "chained"),
                "PyTorch, whole operation": turn(torch, "repeated"),
            }
            interleave(contestants, 2)  # warm-up
            tables.append((operation, interleave(contestants, options.rounds)))
        imports = import_seconds(options.rounds)

    for operation, seconds in tables:
        print(f"`{operation}` on {SIZE} elements:\n")
        print(table(seconds, "PyTorch, whole operation", "ns"), end="\n\n")
    milliseconds = [value * 1e3 for value in imports]
    median, best = statistics.median(milliseconds), min(milliseconds)
    print(f"`import owl` beyond numpy: median {median:.1f} ms, best {best:.1f} ms\n")
    print(circumstances(idleness))


if __name__ == "__main__":
    main()
