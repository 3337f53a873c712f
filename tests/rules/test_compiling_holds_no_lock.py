"""A plan that is not known yet is compiled without the graph's lock: what does not need its values goes on meanwhile.

A new length of array makes a plan that no test before has compiled.
"""

import asyncio
import contextlib
import itertools
import threading
import time

import numpy as np
import pytest

import owl
import owl.aio
import owl.elewise as ele
import owl.testing
from tests.support import processes, waiting

LENGTHS = itertools.count(1001)
SECONDS = 60  # after which a test gives up


class Work(threading.Thread):
    """A thread that keeps what its function gives, or raises."""

    def __init__(self, function, *args):
        super().__init__(daemon=True)
        self.function, self.args = function, args
        self.start()

    def run(self):
        try:
            self.value, self.error = self.function(*self.args), None
        except BaseException as error:
            self.value, self.error = None, error

    def result(self):
        self.join(SECONDS)
        assert not self.is_alive(), "the thread does not end"
        if self.error:
            raise self.error
        return self.value


@contextlib.contextmanager
def held_compilation(function, *args):
    """Runs a function in a thread until it compiles; the compilation goes on when the block ends."""
    with owl.testing.hold_compile() as held:
        work = Work(function, *args)
        waiting.until(lambda: held() == 1 or not work.is_alive())
        yield work
        assert held() >= 1


def new_plan(length):
    x = owl.from_numpy(np.arange(length, dtype=np.float32))
    return ele.mult(x * 3 + 1, x).to_numpy()


def expected(length):
    x = np.arange(length, dtype=np.float32)
    return (x * 3 + 1) * x


def test_known_plans_run_on_the_same_device_meanwhile():
    length = next(LENGTHS)
    Work(new_plan, length).result()  # known from here on, on the device of threads that chose none
    other = next(LENGTHS)
    with held_compilation(new_plan, other) as work:
        assert np.array_equal(Work(new_plan, length).result(), expected(length))
    assert np.array_equal(work.result(), expected(other))


@pytest.mark.parametrize("make", [owl.create_cpu_device, owl.testing.remote_device])
def test_known_plans_run_on_another_device_meanwhile(make):
    device = make()
    length, other = next(LENGTHS), next(LENGTHS)

    def on_device(length):
        with device:
            return new_plan(length)

    on_device(length)
    with held_compilation(new_plan, other) as work:
        assert np.array_equal(Work(on_device, length).result(), expected(length))
    assert np.array_equal(work.result(), expected(other))


def test_arrays_are_recorded_and_dropped_meanwhile():
    def record_and_drop():
        for _ in range(300):
            ele.relu(owl.ones([8]) - 1)

    before = owl.testing.settle()["nodes"]
    with held_compilation(new_plan, next(LENGTHS)) as work:
        Work(record_and_drop).result()
    work.result()
    del work
    assert owl.testing.settle()["nodes"] == before


def test_an_event_loop_awaits_known_plans_meanwhile():
    length = next(LENGTHS)

    async def awaits():
        x = owl.from_numpy(np.arange(length, dtype=np.float32))
        y = await ele.mult(x * 3 + 1, x).eval()
        return await owl.aio.to_numpy(y)

    Work(asyncio.run, awaits()).result()
    with held_compilation(new_plan, next(LENGTHS)) as work:
        assert np.array_equal(Work(asyncio.run, awaits()).result(), expected(length))
    work.result()


def test_what_needs_the_values_waits_for_them():
    length = next(LENGTHS)
    x = owl.from_numpy(np.arange(length, dtype=np.float32))
    y = x * 5 + 2
    (y + y).to_numpy()  # a plan for what follows
    y = x * 5 + 2
    z = ele.sigm(ele.exp(y * 0.001))
    with held_compilation(lambda: z.to_numpy()):
        reader = Work(lambda: (z + z).to_numpy())
        time.sleep(0.05)
        assert reader.is_alive()
    want = 1 / (1 + np.exp(-np.exp((np.arange(length) * 5.0 + 2) * 0.001)))
    np.testing.assert_allclose(reader.result(), 2 * want, rtol=1e-6)


def left_over(length):
    """A value that a plan leaves over and does not store, for a name holds it that may never be read; what needs it."""
    x = owl.from_numpy(np.arange(length, dtype=np.float32) / length)
    inside = ele.exp(x)
    return inside, ele.mult(inside, inside).sum()


def recorded_after_request(length):
    inside, total = left_over(length)
    total.to_numpy()
    return inside.state == "recorded"


LARGE = itertools.count(5001)  # small values are stored


def test_values_are_left_over_by_such_plans():
    assert recorded_after_request(next(LARGE))


@pytest.mark.parametrize("drop_name", [False, True])
def test_a_value_that_is_left_over_and_was_asked_for_meanwhile_is_computed(drop_name):
    length = next(LARGE)
    inside, total = left_over(length)
    with held_compilation(total.to_numpy):
        reader = Work((lambda array: lambda: array.to_numpy())(inside))
        time.sleep(0.05)
        assert reader.is_alive()
        if drop_name:
            del inside
    np.testing.assert_allclose(reader.result(), np.exp(np.arange(length) / length), rtol=1e-5)


def test_a_value_that_is_left_over_and_was_read_meanwhile_is_recorded_again():
    length = next(LARGE)
    inside, total = left_over(length)
    with held_compilation(total.to_numpy) as work:
        reader = inside + 1
        del inside
    work.result()
    np.testing.assert_allclose(reader.to_numpy(), np.exp(np.arange(length) / length) + 1, rtol=1e-5)


def test_a_value_that_is_left_over_and_dropped_meanwhile_is_gone():
    before = owl.testing.settle()["nodes"]
    inside, total = left_over(next(LARGE))
    with held_compilation(total.to_numpy) as work:
        del inside
    work.result()
    del total, work
    assert owl.testing.settle()["nodes"] == before


@pytest.mark.parametrize("make", [owl.create_cpu_device, owl.testing.remote_device])
def test_a_copy_of_which_the_plan_keeps_nothing_is_made_anew(make):
    other = make()
    numbers = np.arange(next(LARGE), dtype=np.float32) / 5000
    source = owl.from_numpy(numbers)
    with other:
        inside = ele.exp(owl.from_numpy(numbers))
        total = ele.mult(source, inside).sum()
    with held_compilation(total.to_numpy), other:
        again = source + 1
    np.testing.assert_allclose(Work(again.to_numpy).result(), numbers + 1, rtol=1e-6)
    np.testing.assert_allclose(inside.to_numpy(), np.exp(numbers), rtol=1e-5)


def test_threads_that_compile_the_same_plan_share_one():
    length = next(LENGTHS)
    owl._runtime.clear_plans()  # there is a bound
    cached = owl.testing.planner_counters()["cached"]
    with owl.testing.hold_compile() as held:
        threads = [Work(new_plan, length) for _ in range(4)]
        waiting.until(lambda: held() == 4)
    for thread in threads:
        assert np.array_equal(thread.result(), expected(length))
    assert owl.testing.planner_counters()["cached"] == cached + 1


def test_a_device_without_work_has_new_plans_compiled_elsewhere():
    """A window closes while the device is busy, and nothing asks for it: the device submits it once it is idle."""
    length, other = next(LENGTHS), next(LENGTHS)
    Work(new_plan, length).result()
    x = Work(owl.from_numpy, np.arange(other, dtype=np.float32)).result()

    def record():
        y = x
        for _ in range(8):
            y = ele.tanh(y)
        return y

    with owl.testing.hold_compile() as held:
        with owl.testing.kernel_delay(500_000), owl.testing.bounds(nodes=8):
            busy = Work(new_plan, length)
            time.sleep(0.05)
            y = Work(record).result()
            busy.result()
        waiting.until(lambda: held() == 1)
        assert np.array_equal(Work(new_plan, length).result(), expected(length))
    assert y.to_numpy()[0] == 0


def test_waiting_for_all_waits_for_plans_of_other_threads():
    inside, total = left_over(next(LARGE))
    with held_compilation(total.to_numpy) as work:
        waiter = Work(owl.wait_for_all)
        time.sleep(0.05)
        assert waiter.is_alive()
    waiter.result()
    work.result()
    assert inside.state == "done"


FORK = r"""
import os, threading, time, warnings
import numpy as np
import owl, owl.testing

warnings.simplefilter("ignore", DeprecationWarning)  # of threads beside a fork
known = (owl.ones([9]) * 2).to_numpy()

def new_plan():
    total = float((owl.ones([10]) * 3 + 1).sum())
    os.write(1, f"value {total}\n".encode())

with owl.testing.hold_compile() as held:
    thread = threading.Thread(target=new_plan)
    thread.start()
    while not held():
        time.sleep(0.001)
    threading.Timer(0.3, owl._runtime.hold_compile, [False]).start()
    child = os.fork()
    if child == 0:
        value = (owl.ones([11]) * 3 - 1).to_numpy()[0]
        os.write(1, f"compiled in the child {held()} {value}\n".encode())
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    thread.join()
    os.write(1, f"child {code}\n".encode())
"""


def test_a_fork_waits_for_the_plan():
    ended = processes.run(FORK)
    lines = sorted(ended.stdout.splitlines())
    assert lines == ["child 0", "compiled in the child 0 2.0", "value 40.0"], (ended.stdout, ended.stderr)
