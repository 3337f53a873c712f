"""Several loops, closed loops, threads."""

import asyncio
import gc
import threading

import numpy as np
import pytest

import owl
import owl.aio
from owl import _runtime
from tests.support.leaks import open_descriptors

from .conftest import new_loop, run_bare


def test_run_twice_in_a_thread(run):
    async def main():
        return float(await (owl.ones([1]) + 1))

    assert [run(main), run(main)] == [2.0, 2.0]
    assert [asyncio.run(main()), asyncio.run(main())] == [2.0, 2.0]


def test_arrays_cross_threads_and_loops(loop_kind, slow):
    x = owl.ones([3]) + 1
    evaluation = x.eval()
    found = []

    def thread():
        async def main():
            assert await evaluation is x
            found.append(await owl.aio.to_numpy(x * 3))

        run_bare(loop_kind, main())

    threads = [threading.Thread(target=thread) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 4
    for each in found:
        np.testing.assert_array_equal(each, [6, 6, 6])


def test_two_loops_at_once_with_many_awaits(loop_kind):
    shared = owl.ones([4]) + 1
    totals = []

    def thread():
        async def worker(n):
            x = shared
            for _ in range(50):
                x = x + n
                await x
            return float(x.max())

        async def main():
            totals.append(sum(await asyncio.gather(*(worker(n) for n in range(20)))))

        run_bare(loop_kind, main())

    threads = [threading.Thread(target=thread) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert totals == [sum(2.0 + 50 * n for n in range(20))] * 2


def test_waiters_of_a_closed_loop_are_dropped_quietly(loop_kind, capfd):
    # A loop that is closed without asyncio.run's care, while a coroutine waits in it.
    promise = _runtime.promise([3])
    waiting = promise.array + 1
    loop = new_loop(loop_kind)
    before = open_descriptors()

    async def main():
        steps = waiting.__await__()
        future = steps.send(None)
        assert not future.done()
        return steps, future

    steps, future = loop.run_until_complete(main())
    loop.close()
    promise.fulfil([1, 2, 3])
    np.testing.assert_array_equal(waiting.to_numpy(), [2, 3, 4])
    assert not future.done()
    steps.close()
    del steps, future, loop, promise
    gc.collect()
    assert open_descriptors() <= before
    assert capfd.readouterr().err == ""


def test_descriptors_do_not_grow_with_loops_closed_without_care(loop_kind):
    async def main():
        await (owl.ones([3]) + 1)

    def once():
        loop = new_loop(loop_kind)
        loop.run_until_complete(main())
        loop.close()
        del loop
        gc.collect()

    once()
    before = open_descriptors()
    for _ in range(10):
        once()
    assert open_descriptors() <= before


@pytest.mark.cpu("a device that runs ahead ends many runs, each with a wake-up")
def test_many_completions_are_one_wake_up(run):
    async def main():
        promises = [_runtime.promise([1]) for _ in range(50)]
        evaluations = [promise.array.eval() for promise in promises]
        arrived = []
        for evaluation in evaluations:
            evaluation.add_done_callback(arrived.append)
        turns = 0
        for promise in promises:
            promise.fulfil([1])
        for _ in range(3):
            await asyncio.sleep(0)
        while len(arrived) < len(promises):
            turns += 1
            await asyncio.sleep(0)
        assert turns <= 1

    run(main)


def test_a_loop_goes_on_after_its_generators_were_shut_down(run):
    async def main():
        loop = asyncio.get_running_loop()
        await (owl.ones([3]) + 1)
        promise = _runtime.promise([1])
        task = asyncio.ensure_future(owl.aio.to_numpy(promise.array))
        await asyncio.sleep(0)
        await loop.shutdown_asyncgens()
        promise.fulfil([5])
        assert (await task)[0] == 5
        await (owl.ones([3]) + 2)

    run(main)


def test_debug_mode_of_asyncio(run, slow):
    async def main():
        assert asyncio.get_running_loop().get_debug()
        x = owl.ones([3]) + 1
        await asyncio.gather(owl.aio.to_numpy(x), owl.aio.to_numpy(x * 2))
        await owl.aio.wait_for_all()

    run(main, debug=True)


@pytest.mark.asyncio
async def test_under_pytest_asyncio():
    x = owl.ones([3]) + 1
    assert await x is x
    assert (await owl.aio.to_numpy(x))[0] == 2
