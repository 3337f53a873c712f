"""An interrupt between any two steps leaves a pipeline that can be used, and no thread."""

import asyncio
import contextlib
import gc
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

import owl.aio.pipeline
from owl.aio.pipeline import Pipeline, PipelineError
from tests.support.leaks import owl_threads

HERE = str(Path(owl.aio.pipeline.__file__).parent)
ITEMS = 12
WHOLE = [[at, at + 1] for at in range(0, ITEMS, 2)]


class Interrupts:
    """Raises KeyboardInterrupt before given instructions of the pipeline's own code, counted in the calling thread."""

    def __init__(self, *at):
        self.left = sorted(at)
        self.seen = 0

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.enter)
        return self

    def __exit__(self, *exc):
        sys.settrace(self.before)

    def enter(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(HERE):
            return None
        frame.f_trace_opcodes = True
        return self.step

    def step(self, frame, event, arg):
        if event == "opcode":
            self.seen += 1
            if self.left and self.seen > self.left[0]:
                self.left.pop(0)
                raise KeyboardInterrupt
        return self.step


def a_pipeline():
    return Pipeline(range(ITEMS), concurrency=2).map(abs, concurrency=2).batch(2)


def read(batches, got):
    got.extend(batch.tolist() for batch in batches)


def by_for(pipe, got):
    read(pipe, got)


def by_with(pipe, got):
    with pipe as batches:
        read(batches, got)


def left_early(pipe, got):
    with pipe as batches:
        got.append(next(batches).tolist())
        got.append(next(batches).tolist())


def closed_twice(pipe, got):
    with pipe as batches:
        got.append(next(batches).tolist())
        batches.close()
        pipe.close()


def by_async_for(pipe, got):
    async def main():
        async for batch in pipe:
            got.append(batch.tolist())

    asyncio.run(main())


def by_async_with(pipe, got):
    async def main():
        async with pipe as batches:
            got.append((await anext(batches)).tolist())

    asyncio.run(main())


# What an interrupt keeps from being awaited says so, which is no fault of the pipeline's.
_unawaited = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::RuntimeWarning")
USES = [
    *(by_for, by_with, left_early, closed_twice),
    *(pytest.param(use, marks=_unawaited) for use in (by_async_for, by_async_with)),
]


def count_instructions(use):
    with Interrupts() as interrupts:
        use(a_pipeline(), [])
    return interrupts.seen


def interrupt(use, pipe, *at):
    """What was handed over by then."""
    got = []
    try:
        with Interrupts(*at):
            use(pipe, got)
    except KeyboardInterrupt:
        pass
    return got


def wait_until_ended():
    until = time.monotonic() + 20
    while owl_threads() and time.monotonic() < until:
        gc.collect()
        time.sleep(0.001)
    assert owl_threads() == []


def check(use, *at, close):
    pipe = a_pipeline()
    got = interrupt(use, pipe, *at)
    assert got == WHOLE[: len(got)]
    if close:
        pipe.close()
    saved = pipe.state_dict()
    assert [batch.tolist() for batch in pipe] == WHOLE, at
    # Going on where it was left hands over the rest. One batch may have been on its way to its consumer.
    if saved["epoch"] == 0:
        again = a_pipeline()
        again.load_state_dict(saved)
        rest = [batch.tolist() for batch in again]
        assert rest in (WHOLE[len(got) :], WHOLE[len(got) + 1 :]), at
    wait_until_ended()


@pytest.mark.parametrize("use", USES)
def test_an_interrupt_at_any_step_leaves_a_pipeline_that_can_be_used(use):
    count = count_instructions(use)
    draw = random.Random(7)
    for at in draw.sample(range(count), 40):
        check(use, at, close=draw.random() < 0.5)


@pytest.mark.parametrize("use", USES)
def test_two_interrupts_leave_a_pipeline_that_can_be_used(use):
    count = count_instructions(use)
    draw = random.Random(8)
    for _ in range(15):
        at = draw.randrange(count)
        check(use, at, at + draw.randrange(1, 60), close=draw.random() < 0.5)


@pytest.mark.long
@pytest.mark.parametrize("use", USES)
def test_an_interrupt_at_each_step_leaves_a_pipeline_that_can_be_used(use):
    count = count_instructions(use)
    # What runs on a caller's loop takes ten times as many instructions, nearly all of them in turns of the same code.
    for at in range(0, count, 1 if count < 10_000 else 11):
        check(use, at, close=at % 2 == 0)


@pytest.mark.long
@pytest.mark.parametrize("use", USES)
def test_two_interrupts_soon_after_one_another_leave_a_pipeline_that_can_be_used(use):
    draw = random.Random(9)
    count = count_instructions(use)
    for at in range(0, count, 4 if count < 10_000 else 40):
        check(use, at, at + draw.randrange(1, 200), close=draw.random() < 0.5)


@contextlib.contextmanager
def interrupts_in_finalizers_pass():
    """Python reports an interrupt that arrives in a finalizer and goes on, so the run must not outlive it.

    pytest's own hook formats what it is told, and a second signal that arrives meanwhile would fail the test.
    """
    before = sys.unraisablehook

    def hook(unraisable):
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def strike(use, times, draw, most_seconds):
    """Signals as Ctrl-C sends them, at any time; how many arrived while the pipeline was in use."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    arrived = 0
    pipe = a_pipeline()
    try:
        for _ in range(times):
            try:
                signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-5, most_seconds), 0.002 * draw.randrange(2))
                got = []
                use(pipe, got)
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert got == WHOLE[: len(got)]
            except KeyboardInterrupt:
                arrived += 1
            finally:
                while True:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                        break
                    except KeyboardInterrupt:
                        continue
            assert [batch.tolist() for batch in pipe] == WHOLE
    finally:
        signal.signal(signal.SIGALRM, before)
    pipe.close()
    wait_until_ended()
    return arrived


@pytest.mark.parametrize("use", [by_for, left_early])
def test_signals_at_any_time_leave_a_pipeline_that_can_be_used(use):
    with interrupts_in_finalizers_pass():
        assert strike(use, 60, random.Random(10), 0.004)


@pytest.mark.long
@pytest.mark.parametrize("use", [by_for, by_with, left_early])
def test_many_signals_leave_a_pipeline_that_can_be_used(use):
    with interrupts_in_finalizers_pass():
        assert strike(use, 1500, random.Random(11), 0.006)


def test_an_interrupt_in_a_finalizer_is_no_failure_of_the_pipeline():
    """pytest failed a test when a second signal arrived while its hook formatted the first."""

    class Finalized:
        def __del__(self):
            raise KeyboardInterrupt

    with interrupts_in_finalizers_pass():
        Finalized()


def test_an_iterator_may_be_dropped_in_a_thread_of_its_own_pipeline():
    dropped = threading.Event()
    held = []

    def drop(x):
        if x == 5:
            held.clear()
            dropped.set()
        return x

    batches = iter(Pipeline(range(100)).map(drop).prefetch(8))
    held.append(batches)
    del batches
    assert next(held[0]) == 0
    assert dropped.wait(20)
    wait_until_ended()


def test_an_iterator_may_be_collected_on_the_loop_of_its_own_pipeline():
    started, may_collect, collected = threading.Event(), threading.Event(), threading.Event()

    async def source():
        yield 0
        started.set()
        while not may_collect.is_set():
            await asyncio.sleep(0.001)
        gc.collect()
        collected.set()
        yield 1

    class Cycle:
        pass

    gc.disable()
    try:
        cycle = Cycle()
        cycle.itself = cycle
        cycle.batches = iter(Pipeline(source).prefetch(2))
        assert next(cycle.batches) == 0
        assert started.wait(20)
        del cycle
        may_collect.set()
        assert collected.wait(20)
    finally:
        gc.enable()
    wait_until_ended()


def test_an_iterator_that_is_dropped_unclosed_ends_its_run():
    pipe = Pipeline(range(100))
    batches = pipe.__enter__()
    assert next(batches) == 0
    del batches
    wait_until_ended()
    assert list(pipe) == list(range(100))


def test_close_ends_the_run():
    pipe = Pipeline(range(100))
    batches = pipe.__enter__()
    assert next(batches) == 0
    with pytest.raises(PipelineError, match=r"running already; close\(\) ends that run"):
        list(pipe)
    pipe.close()
    pipe.close()
    with pytest.raises(PipelineError, match="was closed"):
        list(batches)
    assert pipe.state_dict()["delivered"] == [[0, 1]]
    assert list(pipe) == list(range(100))


def test_close_in_another_thread_ends_the_run():
    pipe = Pipeline(iter(int, 1)).prefetch(1)
    closer = threading.Timer(0.05, pipe.close)
    with pytest.raises(PipelineError, match="was closed"):
        for at, _ in enumerate(pipe):
            if at == 0:
                closer.start()
    closer.join(20)
    wait_until_ended()


def test_a_run_that_gets_no_loop_says_why_and_leaves_the_pipeline_usable(monkeypatch):
    def refuse():
        raise OSError(24, "Too many open files")

    pipe = a_pipeline()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            next(iter(pipe))
    assert [batch.tolist() for batch in pipe] == WHOLE


def test_an_iteration_whose_hand_over_was_cut_off_says_so():
    count = count_instructions(by_with)
    said = 0
    for at in random.Random(12).sample(range(count), 150):
        pipe = a_pipeline()
        with pipe as batches:
            got = []
            try:
                with Interrupts(at):
                    read(batches, got)
            except KeyboardInterrupt:
                pass
            try:
                got += [batch.tolist() for batch in batches]
            except PipelineError as error:
                assert "interrupt" in str(error)
                said += 1
            else:
                # At most the one that was on its way was lost.
                assert len(got) >= len(WHOLE) - 1
    assert said
