"""An evaluation is a future of the running loop: what asyncio does with futures it does with `x.eval()`."""

import asyncio

import numpy as np
import pytest

import owl
import owl.aio
from owl import _runtime

from .conftest import new_loop, run_bare


def test_asyncio_gather_takes_evaluations_without_tasks(run):
    async def main():
        before = len(asyncio.all_tasks())
        together = asyncio.gather(*((owl.ones([3]) * n).eval() for n in range(100)))
        assert len(asyncio.all_tasks()) == before
        return [float(x.max()) for x in await together]

    assert run(main) == list(range(100))


def test_held_evaluations_do_not_count_as_recording_ahead(run, slow):
    """Whoever holds an evaluation will wait for it, so it is no recording that runs ahead."""

    async def main():
        evaluations = [(owl.ones([3]) + n).eval() for n in range(1000)]
        _runtime.set_delay(0)
        return sum([float((await x).max()) for x in evaluations])

    assert run(main) == sum(range(1, 1001))


def test_asyncio_wait_and_as_completed(run):
    async def main():
        promise = _runtime.promise([2])
        ready, pending = (owl.ones([2]) + 1).eval(), (promise.array + 1).eval()
        done, rest = await asyncio.wait([ready, pending], return_when=asyncio.FIRST_COMPLETED)
        assert (done, rest) == ({ready}, {pending})
        promise.fulfil([1, 2])
        arrived = [await x for x in asyncio.as_completed([ready, pending])]
        assert {id(x) for x in arrived} == {id(ready.result()), id(pending.result())}
        np.testing.assert_array_equal(pending.result().to_numpy(), [2, 3])

    run(main)


def test_result_and_exception_before_and_after(run):
    async def main():
        promise = _runtime.promise([1])
        evaluation = (promise.array + 1).eval()
        assert not evaluation.done()
        assert not evaluation.cancelled()
        with pytest.raises(asyncio.InvalidStateError):
            evaluation.result()
        with pytest.raises(asyncio.InvalidStateError):
            evaluation.exception()
        promise.fulfil([1])
        await evaluation
        assert evaluation.done()
        assert evaluation.exception() is None
        assert float(evaluation.result()) == 2

    run(main)


def test_a_failure_comes_out_of_gather_and_each_look_raises_its_own(run):
    async def main():
        with owl.testing.faults("add"):
            evaluation = (owl.ones([2]) + 1).eval()
            found = await asyncio.gather(evaluation, (owl.ones([2]) * 2).eval(), return_exceptions=True)
        assert isinstance(found[0], owl.OwlError)
        assert isinstance(found[1], owl.NArray)
        assert evaluation.exception() is not evaluation.exception()
        with pytest.raises(owl.OwlError, match="add"):
            evaluation.result()

    run(main)


def test_wait_for_and_cancelled_gather_end_the_wait_alone(run):
    async def main():
        promise = _runtime.promise([1])
        x = promise.array + 1
        evaluation = x.eval()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(evaluation), 0.01)
        assert not evaluation.cancelled()
        outer = asyncio.gather(evaluation, x.eval())
        await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert evaluation.cancelled()
        assert not evaluation.cancel()
        with pytest.raises(asyncio.CancelledError):
            evaluation.result()
        promise.fulfil([1])
        assert await evaluation is x
        assert float(await x) == 2

    run(main)


def test_callbacks_are_called_once_in_order_and_can_be_taken_back(run):
    async def main():
        promise = _runtime.promise([1])
        evaluation = (promise.array + 1).eval()
        seen = []
        one, two = (lambda e: seen.append((1, e))), (lambda e: seen.append((2, e)))
        for callback in (one, two, one):
            evaluation.add_done_callback(callback)
        assert evaluation.remove_done_callback(one) == 2
        assert evaluation.remove_done_callback(one) == 0
        evaluation.add_done_callback(one)
        promise.fulfil([1])
        await evaluation
        await asyncio.sleep(0.01)
        assert seen == [(2, evaluation), (1, evaluation)]
        evaluation.add_done_callback(one)
        assert len(seen) == 2  # by the loop, never at once
        await asyncio.sleep(0)
        assert len(seen) == 3

    run(main)


def test_a_dropped_evaluation_still_calls_back(run):
    async def main():
        called = asyncio.Event()
        promise = _runtime.promise([1])
        (promise.array + 1).eval().add_done_callback(lambda _: called.set())
        promise.fulfil([1])
        await asyncio.wait_for(called.wait(), 5)

    run(main)


def test_two_loops_wait_for_one_evaluation(run):
    async def main():
        promise = _runtime.promise([1])
        evaluation = (promise.array + 1).eval()

        async def elsewhere():
            waiting = asyncio.gather(evaluation)
            started.set()
            return await waiting

        started = asyncio.Event()
        loop = asyncio.get_running_loop()
        started.set = lambda: loop.call_soon_threadsafe(asyncio.Event.set, started)  # type: ignore[method-assign]
        here = asyncio.gather(evaluation)
        there = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
        await started.wait()
        promise.fulfil([1])
        assert [float(x) for x in await here] == [2]
        assert [float(x) for x in await there] == [2]

    run(main)


def test_without_a_running_loop_it_is_an_awaitable_and_no_future(loop_kind):
    x = owl.ones([2]) + 1
    evaluation = x.eval()
    assert not asyncio.isfuture(evaluation)
    with pytest.raises(RuntimeError, match="no running event loop"):
        evaluation.add_done_callback(print)
    assert run_bare(loop_kind, evaluation) is x


def test_callbacks_of_a_loop_that_was_closed_are_let_go(run, loop_kind):
    promise = _runtime.promise([1])
    x = promise.array + 1

    async def leave():
        x.eval().add_done_callback(print)

    loop = new_loop(loop_kind)
    loop.run_until_complete(leave())
    loop.close()
    del loop

    async def main():
        asyncio.get_running_loop().call_later(0.01, promise.fulfil, [1])
        return float(await x)  # the next loop that waits lets go of what the closed one kept

    assert run(main) == 2


def test_what_a_finished_task_recorded_joins_the_window_of_its_user(run):
    """Whoever holds a task after its end keeps its Context alive; what it recorded is adopted all the same."""
    w = owl.ones([8, 8])
    w.wait_for_eval()

    async def half(n):
        await asyncio.sleep(0)
        return w * float(n) + 1.0

    async def main():
        tasks = [asyncio.create_task(half(n)) for n in range(4)]
        await asyncio.wait(tasks)
        with Patience():
            before = owl.testing.planner_counters()["plans"]
            total = tasks[0].result() + tasks[1].result() + tasks[2].result() + tasks[3].result()
            value = (await total).to_numpy()[0, 0]
            return value, owl.testing.planner_counters()["plans"] - before

    assert run(main) == (10, 1)


def test_a_task_that_goes_on_keeps_what_it_recorded(run):
    async def main():
        box: list[owl.NArray] = []
        go_on = asyncio.Event()

        async def other():
            box.append(owl.ones([4]) + 1.0)
            await go_on.wait()
            return float((box[0] * 3.0).max())

        task = asyncio.create_task(other())
        while not box:
            await asyncio.sleep(0)
        mine = float((await (box[0] * 2.0)).max())
        go_on.set()
        return mine, await task

    assert run(main) == (4, 6)


class Patience:
    def __enter__(self):
        self.was = _runtime.set_early_start(False)

    def __exit__(self, *_):
        _runtime.set_early_start(self.was)
