"""While the consumer waits for its next item, the devices compute what it has recorded."""

import asyncio
import threading
import time

import numpy as np
import pytest

import owl
from owl._runtime import start_recorded
from owl.aio.pipeline import Pipeline


def finished(x, seconds=2.0):
    """Whether an array is computed though nobody asks for it."""
    until = time.monotonic() + seconds
    while x.state != "done" and time.monotonic() < until:
        time.sleep(0.001)
    return x.state == "done"


def test_what_is_recorded_is_started():
    x = owl.ones([3, 4]) + 1
    assert not finished(x, 0.02)
    start_recorded()
    assert finished(x)
    np.testing.assert_array_equal(x.to_numpy(), np.full((4, 3), 2, np.float32))


def test_nothing_recorded_is_nothing_to_start():
    start_recorded()
    before = owl._runtime.planner_counters()["windows"]
    start_recorded()
    assert owl._runtime.planner_counters()["windows"] == before


def test_other_threads_keep_their_windows_open():
    x = owl.ones([3]) + 1
    thread = threading.Thread(target=start_recorded)
    thread.start()
    thread.join()
    assert not finished(x, 0.02)


def test_parameters_are_the_same_with_pauses_anywhere():
    def train(pauses):
        w = owl.ones([64, 64]) * 0.01
        for step in range(12):
            a = w * (owl.ones([64, 64]) * 0.1 * step)
            if pauses and step % 3 == 0:
                start_recorded()
            w -= 0.1 * (a - 0.5 * w)
            if pauses and step % 2:
                start_recorded()
        return w.to_numpy()

    np.testing.assert_array_equal(train(False), train(True))


def slow(gate):
    yield np.ones((4, 3), np.float32)
    gate.wait(5)
    yield np.ones((4, 3), np.float32)


def test_a_waiting_script_has_its_steps_computed():
    gate = threading.Event()
    recorded = []
    with Pipeline(lambda: slow(gate)).to_device() as batches:
        recorded.append(next(batches) + 1)
        watcher = threading.Thread(target=lambda: (recorded.append(finished(recorded[0])), gate.set()))
        watcher.start()
        next(batches)  # blocks until the watcher has seen the step computed, or given up
        watcher.join()
    assert recorded[1]


@pytest.mark.asyncio
async def test_a_waiting_task_has_its_steps_computed():
    gate = threading.Event()
    async with Pipeline(lambda: slow(gate)).to_device() as batches:
        x = await anext(batches) + 1
        waiting = asyncio.ensure_future(asyncio.to_thread(finished, x))
        waiting.add_done_callback(lambda _: gate.set())
        await anext(batches)
    assert await waiting
