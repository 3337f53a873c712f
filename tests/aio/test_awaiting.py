"""What `await` gives, and when."""

import asyncio
import importlib.util
import threading
import traceback

import numpy as np
import pytest

import owl
import owl.aio
from owl import _runtime


def test_awaiting_an_array_gives_that_array(run):
    async def main():
        x = owl.ones([3]) + 1
        assert await x is x
        assert x.state == "done"
        assert await x.eval() is x
        return x.to_numpy()

    np.testing.assert_array_equal(run(main), [2, 2, 2])


def test_eval_starts_at_once_and_may_be_ignored(run):
    async def main():
        x = owl.ones([3]) + 1
        x.eval()
        while x.state != "done":
            await asyncio.sleep(0.001)

    run(main)


def test_eval_needs_no_event_loop():
    x = owl.ones([3]) + 1
    evaluation = x.eval()
    x.wait_for_eval()
    with pytest.raises(StopIteration) as stopped:
        evaluation.__await__().__next__()
    assert stopped.value.value is x


def test_a_pending_value_needs_an_event_loop(slow):
    waiting = (owl.ones([3]) + 1).__await__()
    with pytest.raises(RuntimeError, match="no running event loop"):
        next(waiting)


def test_a_ready_array_never_suspends():
    async def main():
        return await x

    x = owl.ones([3]) + 1
    x.wait_for_eval()
    with pytest.raises(StopIteration) as stopped:
        main().send(None)
    assert stopped.value.value is x


def test_ready_values_do_not_starve_the_loop(run):
    async def main():
        x = await (owl.ones([3]) + 1)
        loop = asyncio.get_running_loop()
        turns = 0

        def turn():
            nonlocal turns, handle
            turns += 1
            handle = loop.call_soon(turn)

        handle = loop.call_soon(turn)
        until = loop.time() + 30
        while turns < 5:
            await x
            assert loop.time() < until
        handle.cancel()

    run(main)


def test_one_evaluation_awaited_several_times_and_by_several_tasks(run, slow):
    async def main():
        x = owl.ones([3]) + 1
        evaluation = x.eval()

        async def wait():
            return await evaluation

        found = await asyncio.gather(*(wait() for _ in range(20)))
        assert all(each is x for each in found)
        assert await evaluation is x

    run(main)


def test_the_value_of_the_time_of_eval_is_awaited(run, slow):
    async def main():
        x = owl.ones([3]) + 1
        before = owl.aio.to_numpy(x)
        first = asyncio.ensure_future(before)
        await asyncio.sleep(0)
        x += 5
        np.testing.assert_array_equal(await first, [2, 2, 2])
        np.testing.assert_array_equal(await owl.aio.to_numpy(x), [7, 7, 7])

    run(main)


def test_a_thousand_tasks_await_one_array(run, slow):
    async def main():
        x = owl.ones([3]) + 1

        async def wait():
            return await x

        assert all(each is x for each in await asyncio.gather(*(wait() for _ in range(1000))))

    run(main)


def test_a_hundred_thousand_awaits_of_small_arrays(run):
    async def worker(count):
        x = owl.zeros([4])
        for _ in range(count):
            x = x + 1
            await x
        return float(x.max())

    async def main():
        assert await asyncio.gather(*(worker(1000) for _ in range(100))) == [1000.0] * 100

    run(main)


def test_work_that_nobody_can_reach_is_dropped_before_it_starts(run, slow):
    async def main():
        held = [owl.ones([3]) + n for n in range(3)]
        for x in held:
            x.eval()
        (owl.ones([3]) * 7).eval()  # the evaluation and its array go at once
        _runtime.inject_fault("mul", count=1)
        await owl.aio.gather(*held)
        await owl.aio.wait_for_all()
        _runtime.clear_faults()

    run(main)  # a failure of the multiplication would be told on stderr


def test_an_evaluation_alone_keeps_its_work_alive(run, slow):
    async def main():
        evaluation = (owl.ones([3]) * 7).eval()
        x = await evaluation
        np.testing.assert_array_equal(x.to_numpy(), [7, 7, 7])

    run(main)


# ------------------------------------------------------------------------------------------------------------- failures


def test_each_waiter_gets_the_failure_with_a_traceback_of_its_own(run, slow):
    async def main():
        _runtime.inject_fault("mul")
        x = owl.ones([3]) * 7

        async def first():
            await x

        async def second():
            await x

        found = await asyncio.gather(first(), second(), return_exceptions=True)
        for error, name in zip(found, ["first", "second"]):
            assert isinstance(error, owl.ExecutionError)
            assert ("mul", __file__) in [origin[:2] for origin in error.origins]
            names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
            assert {"first", "second"} & set(names) == {name}
        assert found[0] is not found[1]
        with pytest.raises(owl.ExecutionError, match=r"test_awaiting\.py"):
            await x

    run(main)


def test_a_failed_array_that_was_ready_raises_as_well(run):
    async def main():
        _runtime.inject_fault("mul")
        x = owl.ones([3]) * 7
        with pytest.raises(owl.ExecutionError):
            x.wait_for_eval()
        with pytest.raises(owl.ExecutionError):
            await x
        with pytest.raises(owl.ExecutionError):
            await owl.aio.to_numpy(x + 1)

    run(main)


def test_running_out_of_memory_is_a_memory_error(run):
    async def main():
        _runtime.inject_fault("mul", "out_of_memory")
        with pytest.raises(MemoryError):
            await (owl.ones([3]) * 7)

    run(main)


# ------------------------------------------------------------------------------------------------------ several at once


def test_gather_is_one_plan_and_one_wake_up(run, slow):
    async def main():
        xs = [owl.ones([3]) + n for n in range(5)]
        before = _runtime.planner_counters()["windows"]
        found = await owl.aio.gather(*xs)
        assert _runtime.planner_counters()["windows"] == before + 1
        assert all(a is b for a, b in zip(found, xs))
        assert len(found) == len(xs)

    run(main)


def test_gather_of_ready_and_pending_and_of_nothing(run):
    async def main():
        a, b = owl.ones([1]) + 1, owl.ones([1]) + 2
        await a
        assert [float(x) for x in await owl.aio.gather(a, b, a)] == [2.0, 3.0, 2.0]
        assert await owl.aio.gather() == []
        with pytest.raises(TypeError, match="gather"):
            owl.aio.gather(1)

    run(main)


def test_gather_raises_the_first_failure_when_all_have_ended(run):
    async def main():
        _runtime.inject_fault("mul")
        a, b = owl.ones([1]) + 1, owl.ones([1]) * 2
        with pytest.raises(owl.ExecutionError):
            await owl.aio.gather(a, b)
        assert a.state == "done"

    run(main)


def test_as_completed_gives_arrays_in_the_order_of_completion(run):
    async def main():
        promise = _runtime.promise([1])
        late = promise.array + 1
        soon = owl.ones([1]) + 2
        ready = await (owl.ones([1]) + 3)
        found = []
        async for x in owl.aio.as_completed([late, soon, ready]):
            found.append(float(x))
            if len(found) == 2:
                promise.fulfil([10])
        assert sorted(found[:2]) == [3.0, 4.0]
        assert found[2] == 11.0

    run(main)


def test_as_completed_ended_early_leaves_the_work_alone(run, slow):
    async def main():
        xs = [owl.ones([1]) + n for n in range(4)]
        arrivals = owl.aio.as_completed(xs)
        async for _ in arrivals:
            break
        await arrivals.aclose()
        assert [float(x) for x in await owl.aio.gather(*xs)] == [1.0, 2.0, 3.0, 4.0]

    run(main)


def test_as_completed_raises_what_failed(run):
    async def main():
        _runtime.inject_fault("mul")
        with pytest.raises(owl.ExecutionError):
            async for _ in owl.aio.as_completed([owl.ones([1]) * 2]):
                pass

    run(main)


def test_wait_for_all_waits_for_everything_without_blocking(run, slow):
    async def main():
        xs = [owl.ones([1]) + n for n in range(3)]
        async with owl.aio.LagMonitor(0.002) as lag:
            await owl.aio.wait_for_all()
        assert [x.state for x in xs] == ["done"] * 3
        assert lag.count >= 3
        await owl.aio.wait_for_all()

    run(main)


# ------------------------------------------------------------------------------------------------------------ transfers


def test_large_copies_are_made_off_the_loop(run, monkeypatch):
    loops_thread = threading.get_ident()
    threads = []
    copied = owl.aio._transfer._copied
    monkeypatch.setattr(owl.aio._transfer, "_copied", lambda *a: threads.append(threading.get_ident()) or copied(*a))

    async def main():
        a = np.arange(1 << 19, dtype=np.float64).reshape(2, -1)
        x = await owl.aio.from_numpy(a)
        a[:] = 0
        b = await owl.aio.to_numpy(x)
        assert b.dtype == np.float32
        assert b.shape == (2, 1 << 18)
        assert b[1, -1] == (1 << 19) - 1

    run(main)
    assert threads
    assert loops_thread not in threads


def test_small_arrays_and_everything_that_numpy_takes(run):
    async def main():
        x = await owl.aio.from_numpy([[1, 2, 3], [4, 5, 6]])
        assert x.shape == [3, 2]
        np.testing.assert_array_equal(await owl.aio.to_numpy(x), [[1, 2, 3], [4, 5, 6]])
        with pytest.raises(TypeError):
            await owl.aio.from_numpy(np.zeros(1 << 20, complex))
        borrowed = np.ones(4, np.float32)
        assert float((await owl.aio.from_numpy(borrowed, copy=False)).max()) == 1.0

    run(main)


# -------------------------------------------------------------------------------------------------------------- devices


def test_tasks_do_not_disturb_one_anothers_device(run):
    first, second = owl.create_cpu_device(), owl.create_cpu_device()
    outside = owl.get_device()

    async def on(device):
        async with device:
            for _ in range(5):
                await asyncio.sleep(0)
                assert owl.get_device() == device
                x = await (owl.ones([2]) + 1)
                assert x.device == device
        assert owl.get_device() == outside

    async def main():
        await asyncio.gather(*(on(device) for device in [first, second] * 5))

        async def current():
            return owl.get_device()

        with first:
            assert await asyncio.create_task(current()) == first

    run(main)
    assert owl.get_device() == outside


def test_run_uses_uvloop_where_it_is_installed():
    async def main():
        await (owl.ones([2]) + 1)
        return type(asyncio.get_running_loop()).__module__

    wanted = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
    assert owl.aio.run(main()).split(".")[0] == wanted


def test_importing_owl_does_not_import_asyncio(script):
    out, _ = script("import sys, owl; print('READY'); print('asyncio' in sys.modules)")
    assert out == "False\n"
