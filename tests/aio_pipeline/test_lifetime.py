"""However a run is left, it ends within a second, and nothing of it stays: `tests.support.leaks` looks for it."""

import asyncio
import gc
import multiprocessing
import threading
import time

import pytest

from owl.aio.pipeline import Pipeline, PipelineError
from owl.aio.pipeline.chunk import Chunk
from owl.aio.pipeline.process import ProcessWorker
from owl.aio.pipeline.work import Work
from tests.support.leaks import open_descriptors, owl_threads

from . import functions


def busy(x):
    time.sleep(0.002)
    return x


async def busy_async(x):
    await asyncio.sleep(0.002)
    return x


def endless():
    at = 0
    while True:
        yield at
        at += 1


def pipelines():
    return {
        "threads": lambda: Pipeline(range(20)).map(busy, concurrency=4).batch(2).prefetch(2),
        "unordered": lambda: Pipeline(range(20)).map(busy, concurrency=4, ordered=False).batch(2),
        "tasks": lambda: Pipeline(endless).map(busy_async, concurrency=4).batch(2),
        "endless": lambda: Pipeline(endless).shuffle(buffer=16).map(busy, concurrency=2).batch(2),
        "plain": lambda: Pipeline(endless),
    }


@pytest.mark.parametrize("kind", pipelines())
def test_break_at_every_step(kind):
    for n in range(8):
        pipe = pipelines()[kind]()
        for at, _ in enumerate(pipe):
            if at == n:
                break
        assert owl_threads() == []


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", pipelines())
async def test_leave_async_with_at_every_step(kind):
    for n in range(8):
        async with pipelines()[kind]() as items:
            for _ in range(n):
                await anext(items)
        assert len(asyncio.all_tasks()) == 1
        assert owl_threads() == []


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", pipelines())
async def test_cancel_at_every_step(kind):
    for n in range(8):
        reached = asyncio.Event()

        async def consume(n=n, reached=reached):
            async with pipelines()[kind]() as items:
                for _ in range(n):
                    await anext(items)
                reached.set()
                async for _ in items:
                    await asyncio.sleep(0.5)

        task = asyncio.ensure_future(consume())
        await reached.wait()
        await asyncio.sleep(0.001 * n)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1


@pytest.mark.asyncio
async def test_cancelled_while_waiting_for_an_item():
    async def never(x):
        await asyncio.sleep(60)

    async def consume():
        async with Pipeline(range(3)).map(never) as items:
            await anext(items)

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(consume(), 0.05)
    assert len(asyncio.all_tasks()) == 1


def test_an_exception_in_the_loop_body():
    def consume():
        for x in pipelines()["threads"]():
            1 // (int(x[0]) - 4)

    with pytest.raises(ZeroDivisionError):
        consume()
    assert owl_threads() == []


@pytest.mark.leaves_a_thread
def test_leaving_a_function_that_hangs():
    """The run ends before the function; the thread, which cannot be stopped, ends with the function."""
    release = threading.Event()
    released = []

    def hang(x):
        if x == 1:
            released.append(release.wait(60))
        return x

    with Pipeline(range(5)).map(hang) as items:
        assert next(items) == 0
    assert released == []
    release.set()


def test_processes_end_with_the_run():
    pipe = Pipeline(range(50)).map(functions.process_id, executor="process", concurrency=2)
    for _ in pipe:
        break
    assert multiprocessing.active_children() == []


@pytest.mark.asyncio
async def test_generators_are_closed():
    closed = []

    def plain():
        try:
            yield from endless()
        finally:
            closed.append(threading.current_thread().name)

    async def asynchronous():
        try:
            while True:
                await asyncio.sleep(0)
                yield 1
        finally:
            closed.append("asynchronous")

    for source in (plain, asynchronous):
        async with Pipeline(source) as items:
            await anext(items)
    assert closed == ["owl-source", "asynchronous"]


def test_after_the_end_there_is_nothing():
    with Pipeline(range(2)) as items:
        assert list(items) == [0, 1]
        with pytest.raises(StopIteration):
            next(items)
    with Pipeline(range(2)) as items:
        pass
    with pytest.raises(PipelineError, match="closed"):
        next(items)


def test_an_iterator_that_is_dropped_ends_its_run():
    iterator = iter(pipelines()["threads"]())
    next(iterator)
    del iterator
    assert owl_threads() == []


def test_nested_pipelines_end_together():
    for _ in Pipeline(Pipeline(endless).map(busy, concurrency=2)).map(busy, concurrency=2):
        break
    assert owl_threads() == []


def test_a_thousand_short_pipelines_leave_nothing():
    def once():
        for _ in Pipeline(range(3)).map(functions.double):
            break

    for _ in range(20):
        once()
    gc.collect()
    before = open_descriptors(), threading.active_count(), len(gc.get_objects())
    for _ in range(500):
        once()

    async def many():
        for _ in range(500):
            async with Pipeline(range(3)).map(functions.double) as items:
                await anext(items)
        return len(asyncio.all_tasks())

    assert asyncio.run(many()) == 1
    gc.collect()
    after = open_descriptors(), threading.active_count(), len(gc.get_objects())
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 500


# Worker processes between epochs


def processes(source=range(20)):
    return Pipeline(source).map(functions.process_id, executor="process", concurrency=2, ordered=False)


def test_processes_stay_for_the_next_epoch_and_end_with_the_pipeline():
    pipe = processes()
    first = set(pipe)
    assert {child.pid for child in multiprocessing.active_children()} == first
    assert set(pipe) <= first
    del pipe
    assert multiprocessing.active_children() == []


@pytest.mark.asyncio
async def test_processes_stay_for_the_next_epoch_in_async_code():
    pipe = processes()
    seen = []
    for _ in range(2):
        async with pipe as items:
            seen.append({pid async for pid in items})
    assert seen[1] <= seen[0]
    pipe.close()
    assert multiprocessing.active_children() == []
    pipe.close()


def test_an_epoch_that_is_left_early_leaves_no_process():
    pipe = processes()
    first = set(pipe)
    for pid in pipe:
        assert pid in first
        break
    assert multiprocessing.active_children() == []
    assert set(pipe).isdisjoint(first)


def test_idle_processes_end_by_themselves(monkeypatch):
    monkeypatch.setattr("owl.aio.pipeline.process.IDLE_SECONDS", 0.2)
    pipe = processes()
    first = set(pipe)
    until = time.monotonic() + 5
    while multiprocessing.active_children() and time.monotonic() < until:
        time.sleep(0.02)
    assert multiprocessing.active_children() == []
    assert set(pipe).isdisjoint(first)


def test_a_process_killed_between_epochs_is_replaced():
    pipe = processes()
    first = set(pipe)
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
    assert set(pipe).isdisjoint(first)


def test_a_kept_process_draws_what_the_new_epoch_wants():
    def declare(executor):
        return Pipeline(range(12)).map(functions.draw, executor=executor)

    threads, kept = declare("thread"), declare("process")
    assert [list(kept) for _ in range(3)] == [list(threads) for _ in range(3)]


def test_a_process_whose_end_another_thread_has_heard_of_is_let_go(monkeypatch):
    """Two threads that find their parked processes ended wait for both: one of them hears of neither."""
    worker = ProcessWorker(Work(fn=abs))
    assert worker.run(Chunk([0], [0], [-2])).values == [2]
    process = worker._process
    process.kill()
    process.join()
    with monkeypatch.context() as patch:
        patch.setattr(process._popen, "returncode", None)  # as in the moment between the other's wait and its note
        worker.resume(Work(fn=abs))
        assert worker.run(Chunk([0], [0], [-3])).values == [3]
    worker.close()
