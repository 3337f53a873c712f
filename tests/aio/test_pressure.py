"""Recording ahead of the devices, from coroutines."""

import asyncio
import warnings

import pytest

import owl
import owl.aio
from owl import _runtime


@pytest.fixture
def tight():
    """Windows of one node that take 2 ms each, and one run ahead: 64 in a coroutine."""
    before = _runtime.set_bounds(nodes=1, runs=1)
    _runtime.set_delay(1000)
    yield
    _runtime.set_delay(0)
    _runtime.set_bounds(**before)


@pytest.fixture
def raising():
    before = owl.aio.configure(on_full="raise")
    yield
    owl.aio.configure(**before)


def record_much(x, count=80):
    for _ in range(count):
        x = x + 1
    return x


def test_recording_beyond_the_bound_blocks_and_warns_once_for_a_line(run, tight):
    async def main():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            x = record_much(owl.ones([1]))
            x = record_much(x)
        texts = [str(each.message) for each in caught]
        assert len(texts) == 1
        assert "owl.aio.ready()" in texts[0]
        assert caught[0].category is RuntimeWarning
        assert caught[0].filename == __file__
        assert float((await owl.aio.to_numpy(x))[0]) == 161

    _runtime.forget_warned_lines()
    run(main)


def test_or_raises(run, tight, raising):
    async def main():
        x = owl.ones([1])
        recorded = 0

        def record_on():
            nonlocal x, recorded
            while recorded < 900:
                x = x + 1
                recorded += 1

        with pytest.raises(owl.aio.BackPressureError, match="ready"):
            record_on()
        assert 60 <= recorded < 90  # about 64 runs; the executor may not have begun the first yet
        await owl.aio.ready()
        assert float((await owl.aio.to_numpy(x))[0]) == 1 + recorded

    run(main)


def test_awaiting_room_now_and_then_never_blocks(run, tight, raising):
    async def main():
        x = owl.ones([1])
        async with owl.aio.LagMonitor(0.002) as lag:
            for _ in range(20):
                await owl.aio.ready()
                x = x + 1
            assert float((await owl.aio.to_numpy(x))[0]) == 21
        assert lag.count >= 4  # the loop went on

    run(main)


def test_awaiting_something_ready_awaits_room(run, tight, raising):
    async def main():
        ready = await (owl.zeros([1]) + 0)
        x = owl.ones([1])
        for _ in range(20):
            x = x + 1
            await ready
        assert float((await owl.aio.to_numpy(x))[0]) == 21

    run(main)


def test_threads_without_a_loop_wait_in_silence(tight, raising):
    assert float(record_much(owl.ones([1]))) == 81


def test_eval_in_a_coroutine_never_blocks(run, tight):
    async def main():
        loop = asyncio.get_running_loop()
        _runtime.set_bounds(nodes=100)
        x = owl.ones([1])
        begin = loop.time()
        for _ in range(20):
            x = x + 1
            x.eval()
        assert loop.time() - begin < 0.015  # all of them take 20 ms
        assert float((await owl.aio.to_numpy(x))[0]) == 21

    run(main)


def test_only_known_choices():
    with pytest.raises(ValueError, match="on_full"):
        owl.aio.configure(on_full="explode")
    assert owl.aio.configure() == {"on_full": "block"}


def test_tasks_that_wait_for_room_are_woken_one_by_one(run, tight):
    tasks, steps = 200, 2

    async def main():
        loop = asyncio.get_running_loop()
        create, made = loop.create_future, 0

        def counted():
            nonlocal made
            made += 1
            return create()

        loop.create_future = counted
        _runtime.set_delay(0)

        async def body(number):
            for step in range(steps):
                await owl.aio.ready()
                (owl.ones([2]) + number + step).eval()

        await asyncio.gather(*(body(number) for number in range(tasks)))
        await owl.aio.wait_for_all()
        loop.create_future = create
        assert made <= 4 * tasks * steps + 10

    run(main)


@pytest.mark.cpu("two runs ahead are many")
def test_a_cancelled_task_passes_room_on(run, tight):
    async def main():
        order = []

        async def body(number):
            await owl.aio.ready()
            order.append(number)
            (owl.ones([2]) + number).eval()

        for k in range(4):
            (owl.ones([2]) + k).eval()
        tasks = [asyncio.ensure_future(body(number)) for number in range(6)]
        await asyncio.sleep(0)
        for number in (0, 1, 3):
            tasks[number].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        assert sorted(order) == [2, 4, 5]

    run(main)
