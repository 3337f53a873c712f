"""Recording never computes; it blocks under back-pressure only. `from_numpy` copies before it returns, or borrows."""

import gc
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import owl
from owl import _runtime
from owl.testing import bounds, kernel_delay
from tests.support.waiting import resident, settle, until


def nodes_handed_over():
    return _runtime.planner_counters()["nodes"]


def test_nothing_runs_before_a_demand():
    before = nodes_handed_over()
    x = owl.ones([4, 4])
    y = x * 0.5
    arrays = [x, y, owl.elewise.exp(y), x * y, (x + y).trans(), y.sum(0), x.reshape([16]), y.argmax(1), owl.randn([4])]
    time.sleep(0.05)  # an executor that runs ahead would show itself
    assert nodes_handed_over() == before
    assert {array.state for array in arrays} == {"recorded"}


def test_a_demand_runs_ancestors_only():
    x = owl.ones([4])
    wanted = x + 1
    other = x + 2
    assert wanted.to_numpy().tolist() == [2, 2, 2, 2]
    assert other.state == "recorded"
    assert other.to_numpy().tolist() == [3, 3, 3, 3]


def test_attributes_do_not_evaluate():
    x = owl.ones([4, 2]) + 1
    assert (x.shape, x.ndim, x.size, x.nbytes, x.dtype) == ([4, 2], 2, 8, 32, np.float32)
    assert "recorded" in repr(x)
    assert x.state == "recorded"


def test_the_node_bound_closes_a_window():
    before = nodes_handed_over()
    with bounds(nodes=4):
        x = owl.ones([4])
        y = owl.elewise.exp(x + 1)
        z = y.sum()
    until(lambda: nodes_handed_over() > before)
    assert float(z) == pytest.approx(4 * np.exp(2))


def test_the_byte_bound_closes_a_window():
    before = nodes_handed_over()
    with bounds(bytes=1 << 20):
        kept = [owl.ones([1 << 16]) + k for k in range(16)]
        until(lambda: nodes_handed_over() > before)
    assert kept[-1].to_numpy()[0] == 16


@pytest.mark.cpu("two runs ahead are many")
def test_recording_waits_for_an_executor_that_is_behind():
    settle()
    with bounds(nodes=8, runs=1), kernel_delay(10_000):
        x = owl.ones([4])
        for _ in range(100):
            x = owl.elewise.tanh(x + 1).trans()
            assert _runtime.debug_counters()["runs"] <= 4
    settle()


@pytest.mark.cpu("two runs ahead are many")
def test_recording_waits_for_an_executor_that_is_behind_since_a_promise_was_fulfilled():
    """What had waited for the promise is queued at once, not each run when the one before it has ended."""
    settle()
    with bounds(nodes=8, runs=1), kernel_delay(10_000):
        promise = _runtime.promise([4])
        x = promise.array
        for _ in range(20):
            x = owl.elewise.tanh(x + 1).trans()
        promise.fulfil(np.zeros(4, np.float32))
        for _ in range(10):
            x = owl.elewise.tanh(x + 1).trans()
        for _ in range(20):
            x = owl.elewise.tanh(x + 1).trans()
            assert _runtime.debug_counters()["runs"] <= 4
    settle()


def test_an_endless_chain_runs_in_constant_memory():
    a = owl.ones([64])

    def record(count):
        nonlocal a
        for _ in range(count):
            a = a + 1

    record(20_000)
    nodes, occupied = _runtime.debug_counters()["nodes"], resident()
    record(100_000)
    assert _runtime.debug_counters()["nodes"] < nodes + 20_000
    assert resident() - occupied < 32 << 20
    a = None
    settle()
    assert _runtime.debug_counters()["nodes"] < nodes


def test_dropped_results_without_end_run_in_constant_memory():
    a = owl.ones([64])
    for _ in range(50_000):
        a + 1
    assert _runtime.debug_counters()["nodes"] < 20_000
    assert a.to_numpy()[0] == 1


@pytest.mark.parametrize("size", [16, 1 << 18])  # below and above where the GIL is released
def test_from_numpy_copies_before_it_returns(size):
    source = np.ones(size, np.float32)
    x = owl.from_numpy(source)
    source[:] = 7
    assert x.to_numpy().min() == x.to_numpy().max() == 1


def test_a_borrowed_array_is_kept_and_then_released():
    source = np.ones(1 << 16, np.float32)
    gone = weakref.ref(source)
    x = owl.from_numpy(source, copy=False)
    total = x.sum()
    del source
    gc.collect()
    assert gone() is not None or not x.device.name.startswith("cpu")  # elsewhere the copy may be over
    assert float(total) == 1 << 16
    del x, total
    settle()
    owl.zeros([1])  # any call drops what native threads let go of
    assert gone() is None


def test_a_borrowed_array_is_not_copied_nor_written():
    source = np.ones(1 << 16, np.float32)
    x = owl.from_numpy(source, copy=False)
    y = x + 1
    del x  # the buffer is nobody's but NumPy's: it must not be donated to the sum
    assert y.to_numpy().max() == 2
    assert source.max() == 1


def test_what_cannot_be_borrowed_is_refused():
    with pytest.raises(ValueError):
        owl.from_numpy(np.ones(3, np.float64), copy=False)
    with pytest.raises(ValueError):
        owl.from_numpy(np.ones((3, 3), np.float32).T[:, :2], copy=False)


def test_a_window_takes_along_what_another_thread_left_open():
    # Once, a window that closed at its bound ran before the open window of another thread that it needed, and crashed.
    ready, done = threading.Event(), threading.Event()
    other = []

    def record():
        other.append(owl.elewise.exp(owl.ones([1000]) * 2))
        ready.set()
        done.wait()

    x = owl.zeros([1000])
    thread = threading.Thread(target=record)
    thread.start()
    try:
        ready.wait()
        with bounds(nodes=2):
            y = (x + other[0]) * 2
            z = y + 1
        assert z.to_numpy()[0] == pytest.approx(2 * np.exp(2) + 1)
    finally:
        done.set()
        thread.join()


def test_threads_that_record_first_share_one_device():
    # Once, each of them made a device of its own.
    from tests.support.processes import run

    out = run(
        "import sys, threading, owl\n"
        "sys.setswitchinterval(1e-6)\n"
        "barrier = threading.Barrier(8)\n"
        "found = []\n"
        "def f():\n"
        "    barrier.wait(); found.append(int(owl.zeros([1]).device))\n"
        "threads = [threading.Thread(target=f) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(set(found), owl.create_cpu_device())"
    )
    assert out.stdout.startswith("{0} Device(1"), out.stdout + out.stderr


@pytest.mark.cpu("a thread that records without a pause keeps sixteen runs ahead, each of which completes late")
def test_an_operand_rebound_by_another_thread_while_recording():
    # A record that starts a garbage collection or a new stream lets other threads in; its operands must survive them.
    stop = threading.Event()
    w = owl.ones([8])

    def rebind():
        nonlocal w
        while not stop.is_set():
            w -= owl.ones([8]) * 0

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=rebind)
    thread.start()
    try:
        for _ in range(300):
            source = np.ones(8, np.float32)
            owl.from_numpy(source, copy=False).wait_for_eval()
            assert (w + 1).to_numpy().tolist() == [2.0] * 8
            assert w.to_numpy().tolist() == [1.0] * 8
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
