"""Gathering items into batches."""

import asyncio

import numpy as np
import pytest

import owl
import owl.aio
from tests.support.devices import new_device


class Doubler:
    """Doubles arrays with owl, and remembers its batches."""

    def __init__(self):
        self.batches = []

    async def __call__(self, items):
        self.batches.append(list(items))
        x = await owl.aio.from_numpy(np.array(items, np.float32))
        return [float(each) for each in await owl.aio.to_numpy(x * 2)]


def test_items_are_gathered_and_each_caller_has_its_own_result(run):
    async def main():
        fn = Doubler()
        async with owl.aio.Batcher(fn, max_batch=8, max_delay=0.05) as batcher:
            found = await asyncio.gather(*(batcher(n) for n in range(30)))
        assert found == [2.0 * n for n in range(30)]
        assert [len(batch) for batch in fn.batches] == [8, 8, 8, 6]

    run(main)


def test_a_single_item_waits_no_longer_than_the_delay(run):
    async def main():
        loop = asyncio.get_running_loop()
        fn = Doubler()
        async with owl.aio.Batcher(fn, max_batch=8, max_delay=0.02) as batcher:
            begin = loop.time()
            assert await batcher(3) == 6.0
            assert 0.015 < loop.time() - begin < 1

    run(main)


def test_items_gather_while_batches_are_under_way(run):
    async def main():
        gate = asyncio.Event()
        sizes = []

        async def fn(items):
            sizes.append(len(items))
            await gate.wait()
            return items

        async with owl.aio.Batcher(fn, max_batch=100, max_delay=0, max_running=1) as batcher:
            tasks = [asyncio.ensure_future(batcher(0))]
            await asyncio.sleep(0.01)
            for n in range(1, 21):
                tasks.append(asyncio.ensure_future(batcher(n)))
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            assert sizes == [1]
            gate.set()
            assert await asyncio.gather(*tasks) == list(range(21))
        assert sizes == [1, 20]

    run(main)


def test_a_plain_function_will_do(run):
    async def main():
        async with owl.aio.Batcher(lambda items: [item + 1 for item in items], max_delay=0) as batcher:
            assert await batcher(1) == 2

    run(main)


def test_a_failure_reaches_every_caller_as_an_exception_of_its_own(run):
    async def main():
        def fn(items):
            raise ValueError("no")

        async with owl.aio.Batcher(fn, max_batch=3) as batcher:
            found = await asyncio.gather(*(batcher(n) for n in range(3)), return_exceptions=True)
        assert [str(error) for error in found] == ["no"] * 3
        assert len({id(error) for error in found}) == 3

    run(main)


def test_too_few_results_are_an_error(run):
    async def main():
        async with owl.aio.Batcher(lambda items: items[1:], max_batch=3) as batcher:
            found = await asyncio.gather(*(batcher(n) for n in range(3)), return_exceptions=True)
        assert all(isinstance(error, RuntimeError) and "2 results for 3" in str(error) for error in found)

    run(main)


def test_a_cancelled_caller_leaves_the_others_alone(run):
    async def main():
        fn = Doubler()
        async with owl.aio.Batcher(fn, max_batch=3, max_delay=10) as batcher:
            tasks = [asyncio.ensure_future(batcher(n)) for n in range(2)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.sleep(0)
            tasks += [asyncio.ensure_future(batcher(n)) for n in range(2, 4)]
            found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert found[1:] == [2.0, 4.0, 6.0]
        assert all(0 not in batch for batch in fn.batches)

    run(main)


def test_closing_answers_what_was_taken_and_takes_no_more(run):
    async def main():
        batcher = owl.aio.Batcher(Doubler(), max_batch=4, max_delay=100)
        tasks = [asyncio.ensure_future(batcher(n)) for n in range(10)]
        await asyncio.sleep(0)
        await batcher.aclose()
        assert await asyncio.gather(*tasks) == [2.0 * n for n in range(10)]
        with pytest.raises(RuntimeError, match="closed"):
            await batcher(1)
        await batcher.aclose()

    run(main)


def test_batches_run_on_the_device_of_the_batchers_making(run):
    device = new_device()

    async def main():
        with device:
            batcher = owl.aio.Batcher(lambda items: [owl.get_device()] * len(items), max_delay=0)
        assert await batcher(1) == device
        assert owl.get_device() != device
        await batcher.aclose()

    run(main)


def test_impossible_settings():
    with pytest.raises(ValueError, match="max_batch"):
        owl.aio.Batcher(list, max_batch=0)


class BreaksOff:
    """Results that end with an error, and say that they are as many as wanted."""

    def __init__(self, count, error):
        self.count, self.error = count, error

    def __len__(self):
        return self.count

    def __iter__(self):
        yield 1
        raise self.error


class CopiesStrangely(Exception):
    def __copy__(self):
        return 3


def answers(run, fn, count=3):
    """What each of some callers gets or is raised; none waits for ever."""

    async def main():
        async with owl.aio.Batcher(fn, max_batch=count, max_delay=0.001) as batcher:
            callers = asyncio.gather(*(batcher(n) for n in range(count)), return_exceptions=True)
            return await asyncio.wait_for(callers, 30)

    return run(main)


def test_results_that_raise_while_they_are_iterated(run):
    found = answers(run, lambda items: BreaksOff(len(items), KeyError("broken off")))
    assert [type(error) for error in found] == [KeyError] * 3


@pytest.mark.parametrize(
    "results",
    [
        lambda items: dict.fromkeys(items),
        lambda items: set(items),
        lambda items: "abc",
        lambda items: b"abc",
        lambda items: items[1:],
        lambda items: [*items, 1],
        lambda items: iter(lambda: 1, 2),  # without end
    ],
)
def test_what_is_not_one_result_for_each_item_is_refused(run, results):
    for error in answers(run, results):
        assert isinstance(error, owl.aio.BatcherError)
        assert isinstance(error, owl.OwlError)
        assert isinstance(error, RuntimeError)


def test_results_may_come_from_an_iterator_or_an_array(run):
    assert answers(run, lambda items: (item * 2 for item in items)) == [0, 2, 4]
    assert answers(run, lambda items: np.array(items) * 2) == [0, 2, 4]


@pytest.mark.parametrize("error", [StopIteration("early"), CopiesStrangely("odd")])
def test_errors_that_no_future_or_copy_takes_reach_the_callers(run, error):
    def fn(items):
        raise error

    found = answers(run, fn)
    assert all(isinstance(each, (owl.aio.BatcherError, CopiesStrangely)) for each in found)


def test_a_function_that_is_cancelled_cancels_no_caller(run):
    async def fn(items):
        raise asyncio.CancelledError

    found = answers(run, fn)
    assert [type(error) for error in found] == [owl.aio.BatcherError] * 3
    assert isinstance(found[0].__cause__, asyncio.CancelledError)


def test_a_cancelled_exit_cancels_the_batches_and_answers_everyone(run):
    ended = []

    async def fn(items):
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(len(items))

    async def main():
        callers = []
        before = asyncio.all_tasks()

        async def service():
            async with owl.aio.Batcher(fn, max_batch=2, max_delay=0, max_running=1) as batcher:
                callers.extend(asyncio.ensure_future(batcher(n)) for n in range(5))
                await asyncio.sleep(0.01)

        task = asyncio.ensure_future(service())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [2]
        found = await asyncio.wait_for(asyncio.gather(*callers, return_exceptions=True), 30)
        assert [type(error) for error in found] == [owl.aio.BatcherError] * 5
        assert asyncio.all_tasks() == before

    run(main)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_batch": 1.5}, TypeError),
        ({"max_batch": 0}, ValueError),
        ({"max_batch": "4"}, TypeError),
        ({"max_running": 0}, ValueError),
        ({"max_delay": float("nan")}, ValueError),
        ({"max_delay": float("inf")}, ValueError),
        ({"max_delay": -1}, ValueError),
        ({"max_delay": None}, TypeError),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, error):
    with pytest.raises(error, match=next(iter(arguments))) as raised:
        owl.aio.Batcher(list, **arguments)
    assert isinstance(raised.value, owl.OwlError)
