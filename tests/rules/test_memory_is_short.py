"""Where memory is refused, only the values fail that there is no memory for; all else is computed."""

import numpy as np
import pytest

import owl
import owl.aio
import owl.testing
from owl import _runtime, elewise
from owl.testing import kernel_delay, memory_limit
from tests.support.devices import new_device
from tests.support.waiting import settle, until

MB = 1 << 20


def trained(w, steps):
    rng = np.random.default_rng(5)
    for _ in range(steps):
        x = owl.from_numpy(rng.standard_normal((16, 64)))
        w -= 0.001 * (elewise.tanh(w * x) * x.trans())
    return w


def test_pending_updates_survive_an_evaluation_that_is_too_large():
    start = np.random.default_rng(4).standard_normal((64, 64))
    expected = trained(owl.from_numpy(start), 30).to_numpy()
    with memory_limit(8 * MB, beyond_current=True):
        w = trained(owl.from_numpy(start), 30)
        with pytest.raises(owl.OutOfMemoryError):
            elewise.relu(w * owl.ones([64, 1 << 20])).sum().to_numpy()
        loss = elewise.relu(w * owl.ones([64, 100])).sum().to_numpy()
        assert np.isfinite(loss).all()
        assert np.array_equal(w.to_numpy(), expected)


def test_a_neighbor_in_the_same_window_survives():
    x = owl.from_numpy(np.arange(12, dtype=np.float32).reshape(3, 4))
    with memory_limit(4 * MB, beyond_current=True):
        row = x[1]
        too_large = owl.ones([4096, 4096]) * 2
        owl.wait_for_all()
        assert row.to_numpy().tolist() == [1, 5, 9]
        with pytest.raises(MemoryError):
            too_large.to_numpy()


async def gathered(small, large):
    with pytest.raises(owl.OutOfMemoryError):
        await owl.aio.gather(small, large)
    return (await small).to_numpy()


@pytest.mark.asyncio
async def test_the_small_one_of_two_gathered_values_survives():
    with memory_limit(4 * MB, beyond_current=True):
        assert (await gathered(owl.ones([4]) + 1, owl.ones([4096, 4096]) + 2)).tolist() == [2, 2, 2, 2]


def test_a_refused_run_does_not_wait_for_an_earlier_one_that_became_ready_behind_it():
    # Once, both waited for ever: the earlier one for its turn, and the other one for its end.
    with memory_limit(4 * MB, beyond_current=True):
        promise = _runtime.promise([4])
        late = promise.array + 1
        late.start_eval()  # handed over first, and ready last
        with kernel_delay(100_000):
            slow = owl.ones([4]) + 2
            slow.start_eval()
            too_large = elewise.relu(owl.ones([64, 64]) * owl.ones([64, 1 << 20])).sum()
            too_large.start_eval()
            promise.fulfil(np.ones(4, np.float32))
            until(lambda: slow.state == "done")
        until(lambda: too_large.state == "failed")
        assert late.to_numpy().tolist() == [2, 2, 2, 2]
        with pytest.raises(owl.OutOfMemoryError):
            too_large.to_numpy()


def test_a_chain_runs_in_the_memory_of_two_values():
    # Fused, the last and all that the handle sees are reserved at once; one by one there is room.
    x = owl.ones([1 << 18])
    x.wait_for_eval()
    with memory_limit(3 * MB + MB // 2, beyond_current=True):
        y = x
        for k in range(20):
            y = owl.concat([y[: 1 << 17] + k, y[1 << 17 :] - k], 0)
        values = y.to_numpy()
    assert values[0] == 1 + sum(range(20))
    assert values[-1] == 1 - sum(range(20))


def test_an_input_that_is_needed_later_is_not_written_over():
    x = owl.ones([1 << 18])
    x.wait_for_eval()
    with memory_limit(2 * MB + MB // 2, beyond_current=True):
        first = x + 1
        too_large = owl.concat([first] * 8, 0)
        x -= 5
        owl.wait_for_all()
        assert first.to_numpy().min() == first.to_numpy().max() == 2
        assert x.to_numpy().min() == x.to_numpy().max() == -4
        with pytest.raises(MemoryError):
            too_large.to_numpy()


def test_the_message_says_what_was_asked_for_and_the_limit():
    with memory_limit(MB, beyond_current=True):
        limit = _runtime.debug_counters()["bytes"] + MB
        with pytest.raises(owl.OutOfMemoryError) as raised:
            (owl.ones([1 << 19]) + 1).to_numpy()
    assert f"{4 << 19} bytes were asked for" in str(raised.value)
    assert f"the limit is {limit}" in str(raised.value)
    assert "in use" in str(raised.value)


def test_earlier_runs_of_another_device_end_before_memory_is_refused():
    one, two = new_device(), new_device()
    settle()
    before = _runtime.debug_counters()["bytes"]
    with memory_limit(3 * MB + MB // 4, beyond_current=True), owl.testing.kernel_delay(20000):
        with one:
            busy = (owl.ones([1 << 18]) * 3).sum()
            busy.start_eval()
        until(lambda: _runtime.debug_counters()["bytes"] > before)  # its memory is reserved
        with two:
            large = owl.ones([5 << 17])
        assert large.to_numpy().min() == 1
        assert busy.to_numpy() == 3 << 18


def test_copying_in_waits_for_runs_that_will_give_memory_back():
    source = np.ones(1 << 18, np.float32)
    settle()
    before = _runtime.debug_counters()["bytes"]
    with memory_limit(MB + MB // 2, beyond_current=True), owl.testing.kernel_delay(20000):
        busy = (owl.ones([1 << 18]) * 3).sum()
        busy.start_eval()
        until(lambda: _runtime.debug_counters()["bytes"] > before)
        copied = owl.from_numpy(source)
    assert copied.to_numpy().min() == 1
    assert busy.to_numpy() == 3 << 18


@pytest.mark.cpu("a kept promise takes memory where it is kept")
def test_keeping_a_promise_waits_for_no_run_that_waits_for_the_promise():
    with memory_limit(MB, beyond_current=True):
        promise = owl.testing.promise([1 << 19])
        dependent = promise.array + 1
        dependent.start_eval()
        with pytest.raises(owl.OutOfMemoryError):
            promise.fulfil(np.ones(1 << 19, np.float32))
        promise.fail("there was no memory")
        with pytest.raises(owl.ExecutionError, match="no memory"):
            dependent.to_numpy()
