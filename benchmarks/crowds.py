"""What grows with the number of things must grow in step with it: arrays joined into one, and tasks that wait for room.

Each line is the time of one number of things, and how it compares with ten times as few: a factor of 10 is linear. No
other library takes part, since none has back-pressure for tasks.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

import owl
import owl.aio
from benchmarks.harness import Idleness, circumstances

COUNTS = (100, 1_000, 10_000)
REPEATS = 5


def joined(count: int) -> Callable[[], None]:
    parts = [owl.full([4, 1], k) for k in range(count)]
    owl.wait_for_all()
    return lambda: owl.concat(parts, 1).wait_for_eval()


def waited(count: int) -> Callable[[], None]:
    w = owl.ones([32, 32])

    async def body(number: int) -> None:
        await owl.aio.ready()
        (w * w + number).eval()

    async def crowd() -> None:
        await asyncio.gather(*(body(number) for number in range(count)))
        await owl.aio.wait_for_all()

    return lambda: asyncio.run(crowd())


def measure() -> None:
    for name, make in ("arrays joined", joined), ("tasks that wait for room", waited):
        before = None
        for count in COUNTS:
            work = make(count)
            work()
            times = []
            for _ in range(REPEATS):
                begin = time.perf_counter()
                work()
                times.append(time.perf_counter() - begin)
            median = statistics.median(times)
            factor = f", {median / before:.1f} times as long as a tenth" if before else ""
            print(f"{count:6d} {name}: {median * 1e3:.2f} ms{factor}")
            before = median


if __name__ == "__main__":
    with Idleness() as idleness:
        measure()
    print(circumstances(idleness, ["owl-runtime", "numpy"]))
