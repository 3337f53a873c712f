"""Executors never take the GIL, nodes hold no Python references, and no lock is held where the collector may run."""

import gc
import sys
import threading
import time
import weakref
from typing import ClassVar

import numpy as np
import pytest

import owl
from owl import _runtime
from owl.testing import kernel_delay
from tests.support.waiting import settle, until


@pytest.fixture
def collecting():
    """Collects garbage at nearly every allocation."""
    was = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    yield
    gc.set_threshold(*was)


class Cycle:
    """An array that only the collector can drop."""

    def __init__(self, array):
        self.array = array
        self.itself = self


class Recorder(Cycle):
    """Records and reads arrays while it is collected, inside whatever allocated."""

    seen: ClassVar[list[float]] = []

    def __del__(self):
        self.seen.append(float((self.array + 1).sum()))


def test_arrays_in_cycles_collected_at_any_allocation(collecting):
    x = owl.ones([4])
    for k in range(300):
        Cycle(x + k)
        Cycle(owl.from_numpy(np.full(4, k, np.float32)))
        Cycle(owl.concat([x, x, x, x], 0).sum())
        if k % 50 == 0:
            assert (x + k).to_numpy()[0] == k + 1
    assert owl.elewise.where(x > 0, x, x).to_numpy()[0] == 1


def test_finalizers_that_record_and_demand(collecting):
    Recorder.seen.clear()
    x = owl.ones([4])
    for _ in range(100):
        Recorder(owl.elewise.sqrt(x))
        assert (x * 2).to_numpy()[0] == 2
    # Another thread, such as the one that compiles kernels, may be the one that collects.
    until = time.monotonic() + 30
    while len(Recorder.seen) < 100 and time.monotonic() < until:
        gc.collect()
        time.sleep(0.001)
    assert Recorder.seen == [8.0] * 100


def test_cycles_dropped_by_one_thread_while_others_record():
    stop = threading.Event()
    errors = []

    def record():
        x = owl.ones([16])
        try:
            while not stop.is_set():
                Cycle(owl.elewise.tanh(x))
                if (x + 1).to_numpy()[3] != 2:
                    raise AssertionError("wrong value")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        gc.collect()
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors


def test_the_executor_works_while_the_gil_is_held():
    # A thread that never lets go of the GIL still sees the value appear.
    x = owl.ones([1 << 10])
    y = owl.elewise.exp(x)
    y.start_eval()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        end = time.monotonic() + 60
        while y.state != "done":
            assert time.monotonic() < end
    finally:
        sys.setswitchinterval(interval)


def test_borrowed_memory_is_let_go_by_the_next_call_not_by_the_executor():
    source = np.ones(1 << 10, np.float32)
    gone = weakref.ref(source)
    x = owl.from_numpy(source, copy=False)
    with kernel_delay(5000):
        y = owl.elewise.exp(x)
        y.start_eval()
        del x, source
        until(lambda: y.state == "done")
    settle()
    assert gone() is None


def test_a_thread_gives_back_its_context():
    # Once, the thread's cache of its Context kept one for ever.
    import contextvars

    class Token:
        pass

    token = Token()
    gone = weakref.ref(token)
    variable = contextvars.ContextVar("variable")

    def record():
        variable.set(gone())
        owl.ones([2]).to_numpy()

    thread = threading.Thread(target=record)
    thread.start()
    thread.join()
    del token
    until(lambda: (owl.zeros([1]), gc.collect(), gone() is None)[-1])


def test_dropped_promises_leak_no_node():
    # Once, the promise kept its node for ever.
    settle()
    before = _runtime.debug_counters()["nodes"]
    for _ in range(10):
        promise = _runtime.promise([2])
        promise.fulfil(np.zeros(2, np.float32))
        del promise
    settle()
    assert _runtime.debug_counters()["nodes"] == before
