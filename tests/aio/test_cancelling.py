"""Cancelling a wait ends that wait, and nothing else."""

import asyncio
import sys

import numpy as np
import pytest

import owl
import owl.aio
from owl import _runtime


def test_the_work_goes_on_and_the_array_can_be_awaited_again(run, slow):
    async def main():
        x = owl.ones([3]) + 1
        task = asyncio.ensure_future(owl.aio.to_numpy(x))
        other = asyncio.ensure_future(owl.aio.to_numpy(x))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        np.testing.assert_array_equal(await other, [2, 2, 2])
        assert await x is x

    run(main)


def test_buffers_of_cancelled_work_live_until_it_has_ended(run, slow):
    async def main():
        a = owl.from_numpy(np.full(1000, 3, np.float32))
        x = a * 2 + a
        task = asyncio.ensure_future(owl.aio.to_numpy(x))
        await asyncio.sleep(0)
        task.cancel()
        del a
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await owl.aio.to_numpy(x))[0] == 9

    run(main)


def test_a_thousand_waiters_cancelled(run):
    async def main():
        promise = _runtime.promise([3])
        x = promise.array + 1

        async def wait():
            await x

        tasks = [asyncio.ensure_future(wait()) for _ in range(1000)]
        await asyncio.sleep(0)
        for task in tasks[:-1]:
            task.cancel()
        await asyncio.sleep(0)
        promise.fulfil([1, 2, 3])
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(each, asyncio.CancelledError) for each in found) == 999
        assert found[-1] is None

    run(main)


def test_cancelled_after_completion_but_before_the_loop_noticed(run):
    async def main():
        promise = _runtime.promise([1])
        x = promise.array

        async def wait():
            await x

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        promise.fulfil([1])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await x

    run(main)


def test_wait_for(run, slow):
    async def main():
        x = owl.ones([3]) + 1

        async def wait():
            return await x

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wait(), 0.001)
        assert await asyncio.wait_for(wait(), 5) is x

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout and TaskGroup came with Python 3.11")
def test_timeout_and_task_group(run, slow):
    async def main():
        x = owl.ones([3]) + 1
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await x
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(owl.aio.to_numpy(x + n)) for n in range(3)]
        assert [task.result()[0] for task in tasks] == [2, 3, 4]

        async def fails():
            raise ValueError

        waiting = []

        async def group_that_fails():
            async with asyncio.TaskGroup() as group:
                waiting.append(group.create_task(owl.aio.to_numpy(x + 10)))
                group.create_task(fails())

        with pytest.raises(BaseExceptionGroup) as raised:  # noqa: F821
            await group_that_fails()
        assert isinstance(raised.value.exceptions[0], ValueError)
        assert waiting[0].cancelled()

    run(main)


# ------------------------------------------------------------------------------------- cancelled at every single await


async def scripted():
    """Awaits in every way there is."""
    x = await owl.aio.from_numpy(np.ones((4, 4), np.float32))
    y = x * 2 + 1
    await y
    z = y * x
    evaluation = z.eval()
    await asyncio.sleep(0)
    await evaluation
    await owl.aio.gather(z + 1, z + 2)
    async for each in owl.aio.as_completed([z + n for n in range(3)]):
        await each
    await owl.aio.to_numpy(z.sum(0))
    large = await owl.aio.from_numpy(np.ones((1 << 9, 1 << 9)))
    await owl.aio.to_numpy(large + 1)
    x += 1
    await owl.aio.ready()
    await owl.aio.wait_for_all()
    async with owl.aio.Batcher(double, max_batch=2, max_delay=0.001) as batcher:
        await asyncio.gather(batcher(x), batcher(y))
    return await owl.aio.to_numpy(x + y)


async def double(arrays):
    return await owl.aio.gather(*(array * 2 for array in arrays))


async def follow_up():
    """Nine kinds of operations, each of which must work within a second of any cancellation."""

    async def soon(awaitable):
        async def wait():
            return await awaitable

        return await asyncio.wait_for(wait(), 1)

    x = owl.ones([2, 2])
    assert (await soon(owl.aio.to_numpy(x + 1)))[0, 0] == 2
    assert await soon(x * x) is not None
    assert await soon((x - 1).eval()) is not None
    assert len(await soon(owl.aio.gather(x + 2, x + 3))) == 2
    assert len([each async for each in owl.aio.as_completed([x + 4])]) == 1
    assert (await soon(owl.aio.from_numpy(np.zeros((600, 600))))).shape == [600, 600]
    await soon(owl.aio.ready())
    await soon(owl.aio.wait_for_all())
    async with owl.aio.Batcher(double, max_batch=1) as batcher:
        assert float((await soon(batcher(x))).max()) == 2.0


class CancelAt:
    """Steps a coroutine by hand and cancels its task just before the given suspension would go on."""

    def __init__(self, coroutine, at):
        self.coroutine = coroutine
        self.at = at
        self.suspensions = 0

    def __await__(self):
        steps = self.coroutine.__await__()
        value = next_step = None
        while True:
            try:
                next_step = steps.send(value) if value is None else steps.throw(value)
            except StopIteration as stopped:
                return stopped.value
            self.suspensions += 1
            if self.suspensions == self.at:
                asyncio.current_task().cancel()
            try:
                yield next_step
                value = None
            except BaseException as error:
                value = error


async def suspensions(at):
    stepped = CancelAt(scripted(), at)

    async def wait():
        return await stepped

    try:
        await asyncio.create_task(wait())
    except asyncio.CancelledError:
        assert stepped.suspensions >= at
    return stepped.suspensions


@pytest.mark.parametrize("debug", [False, True])
def test_cancelled_at_every_await_of_a_scripted_run(run, debug):
    async def main():
        _runtime.set_delay(300)  # pending when awaited
        at = 1
        while await suspensions(at) >= at:
            await follow_up()
            at += 1
        assert at > 12

    run(main, debug=debug)
