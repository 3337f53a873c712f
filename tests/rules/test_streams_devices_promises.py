"""Streams of recording per thread and task, devices per thread and `with`, and leaves that come later."""

import asyncio
import threading

import numpy as np
import pytest

import owl
from owl import _runtime
from tests.support.devices import new_device
from tests.support.processes import run
from tests.support.waiting import settle, until


@pytest.fixture(scope="module")
def devices():
    return [new_device() for _ in range(3)]


def in_threads(function, count):
    errors = []

    def call(k):
        try:
            function(k)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


def test_eight_threads_record_at_once(devices):
    shared = owl.from_numpy(np.arange(64, dtype=np.float32))

    def work(k):
        owl.set_device(devices[k % 3])
        x = shared * k
        for step in range(200):
            x = owl.elewise.maximum(x + 1, 0)
            if step % 50 == 0:
                x.start_eval()
            if step % 70 == 0:
                assert x.to_numpy()[1] == k + step + 1
        assert np.array_equal(x.to_numpy(), np.arange(64) * k + 200)

    in_threads(work, 8)


def test_threads_share_and_update_the_same_arrays():
    shared = [owl.ones([32]) for _ in range(4)]

    def work(k):
        for step in range(150):
            shared[k % 4] = owl.elewise.tanh(shared[(k + step) % 4])
            shared[step % 4] -= shared[k % 4] * 0.5
            if step % 10 == 0:
                assert np.isfinite(shared[k % 4].to_numpy()).all()

    in_threads(work, 8)


def test_set_device_is_per_thread(devices):
    owl.set_device(devices[0])
    seen = {}

    def work(k):
        owl.set_device(devices[k])
        for _ in range(50):
            seen.setdefault(k, set()).add(int(owl.zeros([1]).device))

    in_threads(work, 3)
    assert seen == {k: {int(devices[k])} for k in range(3)}
    assert owl.get_device() == devices[0]


def test_with_device_nests_and_comes_back(devices):
    owl.set_device(devices[0])
    with devices[1]:
        with devices[2]:
            inner = owl.zeros([1])
        outer = owl.zeros([1])
        with pytest.raises(ZeroDivisionError), devices[2]:
            raise ZeroDivisionError
        still = owl.zeros([1])
    after = owl.zeros([1])
    assert [x.device for x in (inner, outer, still, after)] == [devices[2], devices[1], devices[1], devices[0]]


def test_tasks_record_in_streams_of_their_own(devices):
    async def work(k):
        with devices[k % 3]:
            x = owl.ones([4]) * k
            for _ in range(10):
                x = x + 1
                await asyncio.sleep(0)
                assert x.device == devices[k % 3]
        return x

    async def main():
        results = await asyncio.gather(*[work(k) for k in range(6)])
        assert _runtime.debug_counters()["streams"] >= 6
        return results

    for k, x in enumerate(asyncio.run(main())):
        assert x.to_numpy().tolist() == [k + 10] * 4


def test_streams_of_finished_tasks_are_swept():
    async def work():
        (owl.ones([2]) + 1).to_numpy()

    async def main():
        for _ in range(50):
            await asyncio.create_task(work())

    asyncio.run(main())
    settle()
    assert _runtime.debug_counters()["streams"] < 40


def test_a_device_entered_by_a_task_counts_in_its_threads(devices):
    async def main():
        with devices[1]:
            inside = await asyncio.to_thread(lambda: int(owl.zeros([1]).device))
        with devices[2]:
            again = await asyncio.to_thread(lambda: int(owl.zeros([1]).device))
        return inside, again

    assert asyncio.run(main()) == (devices[1], devices[2])


def test_a_value_moves_between_devices(devices):
    with devices[0]:
        x = owl.ones([8]) + 1
    with devices[1]:
        y = x + 1
    with devices[2]:
        z = (x + y) * 2
    back = z.to(devices[0])
    assert (y.device, z.device, back.device) == (devices[1], devices[2], devices[0])
    assert back.to_numpy().tolist() == [10] * 8


def test_ping_pong_between_devices_in_one_window(devices):
    x = owl.zeros([8])
    for k in range(60):
        with devices[k % 3]:
            x = x + 1
    assert x.to_numpy().tolist() == [60] * 8


def test_a_promise_fulfilled_by_another_thread(devices):
    promise = _runtime.promise([2, 3])
    y = promise.array + 1
    with devices[1]:
        z = owl.elewise.tanh(y * 2)
    z.start_eval()
    assert z.state == "submitted"
    assert (owl.ones([4]) + 1).to_numpy()[0] == 2  # it holds up nobody else
    timer = threading.Timer(0.05, promise.fulfil, (np.ones((3, 2), np.float32),))
    timer.start()
    assert np.allclose(z.to_numpy(), np.tanh(np.float32(4)))
    timer.join()
    assert y.to_numpy().shape == (3, 2)


def test_a_promise_that_fails_takes_its_dependents_along(devices):
    promise = _runtime.promise([4])
    x = owl.ones([4])
    with devices[2]:
        y = promise.array + x
    beside = x + 1
    y.start_eval()
    promise.fail("the disk is on fire")
    with pytest.raises(owl.ExecutionError, match="the disk is on fire") as raised:
        y.to_numpy()
    assert raised.value.kind == "promise"
    assert beside.to_numpy()[0] == 2


def test_a_dropped_promise_is_a_failure():
    promise = _runtime.promise([4])
    y = promise.array * 2
    y.start_eval()
    del promise
    with pytest.raises(owl.ExecutionError, match="dropped"):
        y.to_numpy()


def test_a_promise_is_settled_once():
    promise = _runtime.promise([2])
    promise.fulfil(np.ones(2, np.float32))
    promise.fulfil(np.zeros(2, np.float32))
    promise.fail("too late")
    assert promise.array.to_numpy().tolist() == [1, 1]


def test_wait_for_all_waits_for_promises():
    promise = _runtime.promise([2])
    y = promise.array + 1
    timer = threading.Timer(0.1, promise.fulfil, (np.ones(2, np.float32),))
    timer.start()
    owl.wait_for_all()
    assert y.state == "done"
    timer.join()


def test_wait_for_all_does_not_wait_for_what_others_go_on_recording():
    stop = threading.Event()

    def record():
        x = owl.ones([64])
        while not stop.is_set():
            x = owl.elewise.tanh(x)
            x.start_eval()

    threads = [threading.Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()
    waiting = threading.Thread(target=owl.wait_for_all)
    waiting.start()
    waiting.join(20)
    stuck = waiting.is_alive()
    stop.set()
    for thread in [*threads, waiting]:
        thread.join()
    assert not stuck


def test_the_team_changes_size_while_it_works():
    was = owl.get_num_threads()
    stop = threading.Event()

    def resize():
        k = 0
        while not stop.is_set():
            owl.set_num_threads(1 + k % 4)
            k += 1

    thread = threading.Thread(target=resize)
    thread.start()
    try:
        a = owl.from_numpy(np.eye(128, dtype=np.float32))
        x = owl.ones([128, 128])
        for _ in range(30):
            x = a * x
            assert (x.to_numpy() == 1).all()
    finally:
        stop.set()
        thread.join()
        owl.set_num_threads(was)


def test_many_waiters_of_one_value():
    promise = _runtime.promise([4])
    y = promise.array + 1
    got = []
    threads = [threading.Thread(target=lambda: got.append(float(y.sum()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: _runtime.debug_counters()["runs"] > 0)
    promise.fulfil(np.ones(4, np.float32))
    for thread in threads:
        thread.join()
    assert got == [8.0] * 8


def test_two_threads_that_read_each_others_values_within_one_window():
    # Once, what the other thread had recorded was handed over first, though it needed this thread's own.
    mine, theirs = [owl.ones([64])], []

    def record():
        theirs.append(owl.elewise.exp(mine[0] * 0))

    for _ in range(20):
        first = owl.elewise.tanh(owl.ones([64]) * 0)
        mine[0] = first
        theirs.clear()
        thread = threading.Thread(target=record)
        thread.start()
        thread.join()
        last = owl.elewise.tanh(theirs[0] + first)
        owl.wait_for_all()
        assert np.allclose(last.to_numpy(), np.tanh(1))


@pytest.mark.parametrize("number", [-1, 9999, 65536, 2**31, 2**70])
def test_a_device_that_this_process_does_not_have_is_refused(number):
    device = owl.Device(number)
    for use in (
        device.__enter__,
        lambda: owl.set_device(device),
        lambda: owl.ones([2]).to(device),
        lambda: device.name,
    ):
        with pytest.raises(owl.DeviceError, match="there is no device"):
            use()
    assert repr(device) == f"Device({number}, not of this process)"
    assert (owl.ones([2]) + 1).to_numpy().tolist() == [2, 2]


def test_an_unpickled_device_of_another_process_is_refused():
    program = """
import owl, pickle
for _ in range(5):
    device = owl.create_cpu_device()
print(pickle.dumps(device).hex())
"""
    made = run(program).stdout.strip()
    program = f"""
import owl, pickle
device = pickle.loads(bytes.fromhex({made!r}))
try:
    with device:
        owl.ones([2])
except owl.DeviceError as error:
    print(error)
"""
    out = run(program)
    assert "there is no device 4; created so far: none yet" in out.stdout
    assert (out.returncode, out.stderr) == (0, "")


def test_devices_have_a_bound():
    program = """
import owl
try:
    while True:
        owl.create_cpu_device()
except owl.DeviceError as error:
    print(error)
with owl.Device(1023):
    print((owl.ones([2]) + 1).to_numpy())
"""
    out = run(program)
    assert "at most 1024 devices" in out.stdout
    assert "[2. 2.]" in out.stdout
