"""Gathering items into batches."""

import asyncio

import numpy as np
import pytest

import owl
import owl.aio


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
    device = owl.create_cpu_device()

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
