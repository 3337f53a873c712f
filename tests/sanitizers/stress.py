"""Threads, devices, demands, updates, promises and resizes all at once, for the sanitizers: ``stress.py SECONDS``.

Prints how many operations were recorded. It checks no values: that is what the other tests do.
"""

from __future__ import annotations

import gc
import random
import sys
import threading
import time

import numpy as np

import owl
from owl import _runtime, elewise

SIDE = 64
THREADS = 8


class Worker:
    """One thread's program: random operations on its own arrays and on some that all threads share."""

    def __init__(self, number: int, devices: list[owl.Device], shared: list[owl.NArray]) -> None:
        self.number, self.devices, self.shared = number, devices, shared
        self.rng = random.Random(number)
        self.operations = 0

    def __call__(self, until: float) -> None:
        owl.set_device(self.devices[self.number % len(self.devices)])
        mine = [owl.randn([SIDE, SIDE]) for _ in range(4)]
        steps = [self.combine, self.multiply, self.update, self.share, self.ask, self.move, self.load, self.promise]
        steps += [self.disturb, self.reshape]
        while time.monotonic() < until:
            self.rng.choice(steps)(mine, self.rng.randrange(4), self.rng.randrange(4))
            self.operations += 1

    def combine(self, mine: list[owl.NArray], i: int, j: int) -> None:
        mine[i] = elewise.tanh(mine[j] + self.shared[i])

    def multiply(self, mine: list[owl.NArray], i: int, j: int) -> None:
        mine[i] = elewise.tanh(mine[i] * mine[j] / SIDE)

    def update(self, mine: list[owl.NArray], i: int, j: int) -> None:
        mine[i] -= mine[j] * 0.001

    def share(self, mine: list[owl.NArray], i: int, j: int) -> None:
        if self.rng.random() < 0.5:
            self.shared[i] = elewise.tanh(mine[j])
        else:
            self.shared[i].to_numpy()

    def ask(self, mine: list[owl.NArray], i: int, j: int) -> None:
        if self.rng.random() < 0.5:
            float(mine[i].sum())
        else:
            mine[i].start_eval()
            mine[j][0:32].count_zero()

    def move(self, mine: list[owl.NArray], i: int, j: int) -> None:
        with self.devices[j % len(self.devices)]:
            mine[i] = elewise.tanh(mine[i] + 1)

    def load(self, mine: list[owl.NArray], i: int, j: int) -> None:
        mine[i] = owl.from_numpy(np.ones((SIDE, SIDE), np.float32), copy=j % 2 == 0)

    def promise(self, mine: list[owl.NArray], i: int, j: int) -> None:
        promise = _runtime.promise([SIDE, SIDE])
        mine[i] = mine[j] + promise.array
        threading.Timer(0.001, promise.fulfil, (np.ones((SIDE, SIDE)),)).start()

    def disturb(self, mine: list[owl.NArray], i: int, j: int) -> None:
        del mine, j
        if self.number == 0:
            owl.wait_for_all()
        elif self.number == 1:
            owl.set_num_threads(i + 1)
        elif self.number == 2:
            _runtime.clear_plans()
        elif self.number == 3:
            gc.collect()
        elif self.number == 4:
            _runtime.set_random_windows(i or None)
        else:
            _runtime.debug_counters()

    def reshape(self, mine: list[owl.NArray], i: int, j: int) -> None:
        mine[i] = mine[j].trans().reshape([SIDE, SIDE])


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    _runtime.set_bounds(nodes=200)
    devices = [owl.create_cpu_device() for _ in range(3)]
    shared = [owl.ones([SIDE, SIDE]) for _ in range(4)]
    workers = [Worker(number, devices, shared) for number in range(THREADS)]
    threads = [threading.Thread(target=worker, args=(time.monotonic() + seconds,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()  # the promises' timers
    owl.wait_for_all()
    print(f"{sum(worker.operations for worker in workers)} operations")


if __name__ == "__main__":
    main()
