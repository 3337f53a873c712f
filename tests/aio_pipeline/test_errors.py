"""Bad input: each a clear error naming stage and item, what came before it delivered, and the end within a second."""

import asyncio
import contextlib
import threading
import traceback

import numpy as np
import pytest

import owl
from owl.aio.pipeline import Pipeline, PipelineError, WorkerDied

from . import functions


def run_to_error(pipe):
    """Items delivered before the error, and the error, which ends the run; in both faces."""
    out, also = [], []

    def consume():
        for item in pipe:
            out.append(item)  # noqa: PERF402 - list() would lose what came before the error

    async def consume_async():
        async with pipe as items:
            async for item in items:
                also.append(item)  # noqa: PERF401 - a comprehension would lose what came before the error

    with pytest.raises(PipelineError) as caught:
        consume()
    with pytest.raises(PipelineError) as again:
        asyncio.run(consume_async())
    if not any(stage.name == "shuffle" for stage in pipe.stages):
        assert len(also) == len(out)
        assert (again.value.stage, again.value.item) == (caught.value.stage, caught.value.item)
    return out, caught.value


def test_errors_are_those_of_owl():
    assert issubclass(PipelineError, owl.OwlError)
    assert issubclass(WorkerDied, owl.OwlError)
    for declare in (
        lambda: Pipeline(5),
        lambda: Pipeline([1], concurrency=0),
        lambda: Pipeline([1]).map(3),
        lambda: Pipeline([1]).map(abs, timeout=-1),
        lambda: Pipeline([1]).map(abs, on_error="ignore"),
        lambda: Pipeline([1]).map(abs, executor="task"),
        lambda: Pipeline([1]).to_device().batch(2),
        lambda: len(Pipeline(iter([1]))),
    ):
        with pytest.raises(owl.OwlError):
            declare()


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_a_function_that_raises(concurrency):
    out, error = run_to_error(Pipeline(range(30)).map(functions.fail_at_seven, concurrency=concurrency).batch(1))
    assert [int(x[0]) for x in out] == list(range(7))
    assert (error.stage, error.item) == ("fail_at_seven", 7)
    assert isinstance(error.__cause__, ValueError)
    frames = traceback.extract_tb(error.__cause__.__traceback__)
    assert frames[-1].name == "fail_at_seven"
    assert all(words in str(error) for words in ("fail_at_seven", "item 7", "seven is right out"))


def test_the_key_is_the_index_in_the_source():
    _, error = run_to_error(Pipeline(range(30)).shuffle(seed=1).map(functions.fail_at_seven))
    assert error.item == 7


def test_a_coroutine_function_that_raises():
    async def fragile(x):
        await asyncio.sleep(0.001)
        return functions.fail_at_seven(x)

    out, error = run_to_error(Pipeline(range(30)).map(fragile, concurrency=4))
    assert out == list(range(7))
    assert (error.stage, error.item) == ("fragile", 7)


def test_a_cancelled_error_of_the_function_is_its_failure():
    async def fragile(x):
        if x == 3:
            raise asyncio.CancelledError
        return x

    out, error = run_to_error(Pipeline(range(5)).map(fragile))
    assert out == [0, 1, 2]
    assert isinstance(error.__cause__, asyncio.CancelledError)
    assert error.item == 3


@pytest.mark.parametrize("kind", ["generator", "async generator", "map-style"])
def test_a_source_that_raises(kind):
    def generator():
        for x in range(10):
            yield functions.fail_at_seven(x)

    async def coroutine_generator():
        for x in range(10):
            yield functions.fail_at_seven(x)

    class MapStyle:
        def __len__(self):
            return 10

        def __getitem__(self, at):
            return functions.fail_at_seven(at)

    source = {"generator": generator, "async generator": coroutine_generator, "map-style": MapStyle()}[kind]
    out, error = run_to_error(Pipeline(source).map(functions.double))
    assert out == [2 * x for x in range(7)]
    assert (error.stage, error.item) == ("source", 7)


@pytest.mark.parametrize("source", [[], lambda: iter(()), list, np.zeros((0, 3))])
def test_an_empty_source(source):
    _, error = run_to_error(Pipeline(source).batch(2))
    assert error.stage == "source"
    assert "empty" in str(error)


def test_an_iterator_serves_one_epoch():
    pipe = Pipeline(iter(range(3)))
    assert list(pipe) == [0, 1, 2]
    with pytest.raises(PipelineError, match="give a factory"):
        list(pipe)


def test_a_factory_that_raises():
    def factory():
        raise OSError("no such bucket")

    _, error = run_to_error(Pipeline(factory))
    assert error.stage == "source"
    assert isinstance(error.__cause__, OSError)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([np.zeros(3), np.zeros(3), np.zeros(4)], "ragged"),
        ([np.zeros(3), np.zeros(3), np.zeros(3, int)], "ragged"),
        ([(1, 2), (1, 2), (1,)], "2 members"),
        ([{"a": 1}, {"a": 1}, {"b": 1}], "keys"),
        ([1, 2, "three"], "str at 2"),
        ([1, 2, None], "NoneType at 2"),
        ([None, None, None], "lack a return"),
        ([object(), object(), object()], "collate="),
    ],
)
def test_batches_that_do_not_stack(items, words):
    out, error = run_to_error(Pipeline([0, 0, 0, *items]).map(lambda x: x).batch(3))
    assert len(out) == 1
    assert error.stage == "batch"
    assert error.item == (3, 4, 5)
    assert words in str(error)


def test_a_plain_function_that_returns_a_coroutine():
    async def decode(x):
        return x

    _, error = run_to_error(Pipeline(range(3)).map(lambda x: decode(x), name="decode"))
    assert (error.stage, error.item) == ("decode", 0)
    assert "coroutine" in str(error)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_skip(concurrency):
    pipe = Pipeline(range(30)).map(functions.fail_at_seven, on_error="skip", concurrency=concurrency)
    assert list(pipe) == [x for x in range(30) if x != 7]
    assert pipe.stats().stages[1].skipped == 1


def test_skip_is_bounded():
    def odd_fails(x):
        if x % 2:
            raise ValueError(x)
        return x

    out, error = run_to_error(Pipeline(range(30)).map(odd_fails, on_error="skip", max_skips=3, concurrency=2))
    assert out == [0, 2, 4, 6]
    assert error.item == 7
    assert "beyond the 3 items" in str(error)
    assert list(Pipeline(range(6)).map(odd_fails, on_error="skip", max_skips=3)) == [0, 2, 4]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_retry(asynchronous):
    attempts = {}

    def flaky(x):
        attempts[x] = attempts.get(x, 0) + 1
        if attempts[x] <= x % 3:
            raise OSError("try again")
        return x

    async def flaky_async(x):
        return flaky(x)

    fn = flaky_async if asynchronous else flaky
    assert list(Pipeline(range(9)).map(fn, on_error="retry", retries=2)) == list(range(9))
    assert attempts == {x: x % 3 + 1 for x in range(9)}
    attempts.clear()
    with pytest.raises(PipelineError, match="after 2 attempts") as caught:
        list(Pipeline(range(9)).map(fn, on_error="retry", retries=1))
    assert (caught.value.item, caught.value.attempts) == (2, 2)


def test_retry_draws_the_same_randomness():
    seen = []

    def flaky(x, rng):
        seen.append(int(rng.integers(1 << 30)))
        if len(seen) == 1:
            raise OSError
        return seen[-1]

    assert list(Pipeline([0]).map(flaky, on_error="retry")) == [seen[0]]
    assert seen[0] == seen[1]


@pytest.mark.leaves_a_thread
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_function_that_hangs(asynchronous):
    hanging = threading.Event()

    def hang(x):
        if x == 4:
            hanging.wait(10)
        return x

    async def hang_async(x):
        if x == 4:
            await asyncio.sleep(60)
        return x

    fn = hang_async if asynchronous else hang
    out, error = run_to_error(Pipeline(range(9)).map(fn, concurrency=2, timeout=0.15))
    assert out == [0, 1, 2, 3]
    assert error.item == 4
    assert isinstance(error.__cause__, TimeoutError)
    pipe = Pipeline(range(9)).map(fn, timeout=0.1, on_error="skip")
    assert list(pipe) == [0, 1, 2, 3, 5, 6, 7, 8]
    with pytest.raises(PipelineError, match="after 3 attempts"):
        list(Pipeline(range(9)).map(fn, timeout=0.05, on_error="retry", retries=2))
    hanging.set()


def test_a_coroutine_that_resists_cancelling():
    async def stubborn(x):
        for _ in range(8):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)
        return x

    with pytest.raises(PipelineError, match="no result within"):
        list(Pipeline(range(3)).map(stubborn, timeout=0.05))


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (functions.kill_at_five, "SIGKILL"),
        (functions.exit_at_five, "status 3"),
        (functions.leave_at_five, "SystemExit"),
    ],
)
def test_a_worker_process_that_ends(fn, words):
    with pytest.raises(PipelineError, match=words) as caught:
        list(Pipeline(range(20)).map(fn, executor="process"))
    assert (caught.value.stage, caught.value.item) == (fn.__name__, 5)
    assert isinstance(caught.value.__cause__, (WorkerDied, SystemExit))


def test_a_worker_process_that_ends_is_replaced(tmp_path):
    flag = str(tmp_path / "died")
    pipe = Pipeline([(flag, x) for x in range(8)]).map(functions.die_once, executor="process", on_error="retry")
    assert list(pipe) == list(range(8))
    assert list(Pipeline(range(9)).map(functions.kill_at_five, executor="process", on_error="skip")) == [
        0, 1, 2, 3, 4, 6, 7, 8,
    ]  # fmt: skip


def test_errors_from_a_process_carry_their_traceback():
    with pytest.raises(PipelineError, match="seven is right out") as caught:
        list(Pipeline(range(20)).map(functions.fail_at_seven, executor="process"))
    assert caught.value.item == 7
    assert "in fail_at_seven" in "".join(traceback.format_exception(caught.value))


def test_a_process_that_hangs_is_killed():
    with pytest.raises(PipelineError, match="was killed") as caught:
        list(Pipeline(range(5)).map(functions.hang_at_two, executor="process", timeout=0.3))
    assert caught.value.item == 2


def test_results_and_items_that_cannot_be_pickled():
    with pytest.raises(PipelineError, match="cannot be sent back") as caught:
        list(Pipeline(range(9)).map(functions.unpicklable_result, executor="process"))
    assert caught.value.item == 4
    with pytest.raises(PipelineError, match="cannot be sent to") as caught:
        list(Pipeline([1, 2, lambda: 3]).map(functions.double, executor="process"))
    assert caught.value.item == 2
