"""What comes out: values, order, batches, epochs; the same for both faces and at any concurrency."""

import asyncio
import pickle
import threading
import time
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owl.aio.pipeline import Pipeline, PipelineError

from .functions import double, draw, process_id


async def collect(pipe):
    async with pipe as items:
        return [item async for item in items]


def both_faces(make):
    """The stream by the sync face; checks that the async face gives the same."""
    sync = list(make())
    assert asyncio.run(collect(make())) == sync
    return sync


def jittered(x):
    time.sleep((x * 7919 % 5) / 2000)
    return x


async def jittered_async(x):
    await asyncio.sleep((x * 7919 % 5) / 2000)
    return x


@pytest.mark.parametrize("concurrency", [1, 4, 16])
@pytest.mark.parametrize("fn", [jittered, jittered_async])
def test_ordered_keeps_the_order(concurrency, fn):
    assert both_faces(lambda: Pipeline(range(60)).map(fn, concurrency=concurrency)) == list(range(60))


@pytest.mark.parametrize("concurrency", [1, 4, 16])
@pytest.mark.parametrize("fn", [jittered, jittered_async])
def test_unordered_delivers_the_same_set(concurrency, fn):
    out = list(Pipeline(range(60)).map(fn, concurrency=concurrency, ordered=False))
    assert sorted(out) == list(range(60))


def test_unordered_lets_the_fast_overtake():
    def slow_first(x):
        time.sleep(0.3 if x == 0 else 0.001)
        return x

    out = list(Pipeline(range(10)).map(slow_first, concurrency=2, ordered=False))
    assert out[0] != 0
    assert sorted(out) == list(range(10))


def sources():
    async def coroutine_generator():
        for x in range(11):
            await asyncio.sleep(0)
            yield x

    async def awaited_factory():
        return list(range(11))

    return {
        "list": lambda: list(range(11)),
        "array": lambda: np.arange(11),
        "iterator": lambda: iter(range(11)),
        "generator": lambda: (x for x in range(11)),
        "factory": lambda: lambda: (x for x in range(11)),
        "factory of a list": lambda: lambda: list(range(11)),
        "async generator": lambda: coroutine_generator(),
        "async factory": lambda: coroutine_generator,
        "awaited factory": lambda: awaited_factory,
        "pipeline": lambda: Pipeline(range(11)),
    }


@pytest.mark.parametrize("kind", sources())
def test_every_kind_of_source(kind):
    make = sources()[kind]
    assert both_faces(lambda: Pipeline(make()).map(double)) == [2 * x for x in range(11)]


@pytest.mark.parametrize("source", [5, {"a": 1}])
def test_what_is_no_source(source):
    with pytest.raises(TypeError, match="source"):
        Pipeline(source)


def test_map_style_source_is_read_concurrently():
    at_once = threading.Barrier(8, timeout=60)

    class Slow:
        def __len__(self):
            return 40

        def __getitem__(self, at):
            if at < 8:
                at_once.wait()
            return at

    assert list(Pipeline(Slow(), concurrency=8)) == list(range(40))


@given(st.integers(1, 80), st.integers(1, 12), st.booleans(), st.integers(1, 5))
@settings(deadline=None, max_examples=25)
def test_batches_partition_the_stream(length, size, drop_last, concurrency):
    pipe = Pipeline(range(length)).map(double, concurrency=concurrency).batch(size, drop_last=drop_last)
    batches = list(pipe)
    assert len(batches) == len(pipe)
    items = [int(x) for batch in batches for x in batch]
    whole = length // size * size if drop_last else length
    assert items == [2 * x for x in range(whole)]
    assert all(len(batch) == size for batch in batches[:-1])


def test_batches_stack_structures():
    Pair = namedtuple("Pair", "image label")
    out = next(iter(Pipeline([Pair(np.full((2, 3), x, np.uint8), x) for x in range(4)]).batch(4)))
    assert isinstance(out, Pair)
    assert out.image.shape == (4, 2, 3)
    assert out.image.dtype == np.uint8
    assert out.label.tolist() == [0, 1, 2, 3]
    nested = next(iter(Pipeline([{"a": [np.float32(x), "s"], "b": np.array(x)} for x in range(3)]).batch(3)))
    assert nested["a"][0].dtype == np.float32
    assert nested["a"][1] == ["s", "s", "s"]
    assert nested["b"].tolist() == [0, 1, 2]


def test_large_batches_are_never_overwritten_while_held():
    items = [np.full(20_000, x, np.float32) for x in range(60)]
    held = list(Pipeline(items).batch(2))
    assert all((batch == [[2 * at], [2 * at + 1]]).all() for at, batch in enumerate(held))
    view = None
    for at, batch in enumerate(Pipeline(items).batch(2)):
        if at == 3:
            view = batch[1, 5:9]
    assert view.tolist() == [7.0] * 4


def test_own_collate():
    assert list(Pipeline("abcde").batch(2, collate="".join)) == ["ab", "cd", "e"]


def test_shuffle_is_a_permutation_per_epoch():
    pipe = Pipeline(range(100)).shuffle(seed=3)
    first, second = list(pipe), list(pipe)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert list(Pipeline(range(100)).shuffle(seed=3)) == first
    assert list(Pipeline(range(100)).shuffle(seed=4)) != first


def test_shuffle_of_a_stream_stays_within_its_buffer():
    def make():
        return Pipeline(lambda: iter(range(200))).shuffle(seed=1, buffer=10)

    out = both_faces(make)
    assert sorted(out) == list(range(200))
    assert out != list(range(200))
    assert all(value <= at + 10 for at, value in enumerate(out))


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_randomness_depends_on_the_item_alone(concurrency):
    expected = list(Pipeline(range(50)).shuffle(seed=7).map(draw))
    pipe = Pipeline(range(50)).shuffle(seed=7).map(draw, concurrency=concurrency, ordered=False)
    assert sorted(pipe) == sorted(expected)
    assert set(pipe).isdisjoint(expected), "another epoch draws anew"
    assert len({drawn for _, drawn in expected}) == 50


def test_two_stages_draw_independently():
    def again(pair, rng):
        return pair[1], int(rng.integers(1 << 30))

    assert all(a != b for a, b in Pipeline(range(20)).map(draw).map(again))


def test_processes_give_the_same_stream():
    threads = list(Pipeline(range(40)).shuffle(seed=2).map(draw))
    assert list(Pipeline(range(40)).shuffle(seed=2).map(draw, executor="process", concurrency=2)) == threads


def test_processes_work_side_by_side():
    assert len(set(Pipeline(range(60)).map(process_id, executor="process", concurrency=2, ordered=False))) == 2


def test_declaring_changes_nothing():
    base = Pipeline(range(6))
    doubled = base.map(double)
    assert next(iter(base.batch(2))).tolist() == [0, 1]
    assert list(doubled) == [0, 2, 4, 6, 8, 10]
    assert list(base) == list(range(6))


@pytest.mark.asyncio
async def test_async_for_without_with():
    assert [x async for x in Pipeline(range(5)).map(double)] == [0, 2, 4, 6, 8]


def test_sync_face_inside_a_running_loop():
    async def main():
        return list(Pipeline(range(5)).map(double))

    assert asyncio.run(main()) == [0, 2, 4, 6, 8]


def test_two_pipelines_at_once_and_nested():
    a, b = Pipeline(range(5)), Pipeline(range(3)).map(double)
    assert [(x, y) for x in a for y in b] == [(x, y) for x in range(5) for y in (0, 2, 4)]


def test_one_pipeline_twice_at_once_is_refused():
    pipe = Pipeline(range(5))
    with pipe as items:
        assert next(items) == 0
        with pytest.raises(PipelineError, match="running already"):
            list(pipe)
        assert list(items) == [1, 2, 3, 4]


@pytest.mark.asyncio
async def test_one_pipeline_twice_at_once_is_refused_async():
    pipe = Pipeline(range(5))
    async with pipe as items:
        with pytest.raises(PipelineError, match="running already"):
            async with pipe:
                pass
        assert [x async for x in items] == [0, 1, 2, 3, 4]


def test_a_pipeline_as_source_serves_the_outer_epoch():
    outer = Pipeline(Pipeline(range(30)).shuffle(seed=1)).map(double)
    first, second = list(outer), list(outer)
    assert sorted(first) == sorted(second)
    assert first != second


def test_contextvars_reach_the_threads():
    import contextvars

    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")

    async def main():
        return await collect(Pipeline(range(3)).map(lambda _: variable.get(), concurrency=3))

    assert asyncio.run(main()) == ["set"] * 3
    assert list(Pipeline(range(3)).map(lambda _: variable.get())) == ["set"] * 3


def test_a_slow_stream_passes_on_what_has_arrived():
    """A burst teaches the source to read many items at once; those of the next burst must not wait for its end."""
    import threading

    more = threading.Event()

    def burst_then_wait():
        yield from range(500)
        assert more.wait(5)
        yield 500

    with Pipeline(burst_then_wait) as items:
        assert [next(items) for _ in range(500)] == list(range(500))
        more.set()
        assert list(items) == [500]


def test_a_slow_stream_passes_on_what_its_thread_has_read_late(monkeypatch):
    """Once, what a thread read that had begun more than a millisecond late waited for the end of its turn."""
    import threading
    import time

    from owl.aio.pipeline import source

    run, more = source._Reader.run, threading.Event()

    def late(self, chunk):
        time.sleep(10e-3)
        return run(self, chunk)

    def burst_then_wait():
        yield from range(500)
        assert more.wait(30)
        yield 500

    monkeypatch.setattr(source._Reader, "run", late)
    with Pipeline(burst_then_wait) as items:
        assert [next(items) for _ in range(500)] == list(range(500))
        more.set()
        assert list(items) == [500]


@pytest.mark.parametrize(
    ("declare", "error"),
    [
        (lambda p: p.map(double).shuffle(), ValueError),
        (lambda p: p.batch(0), ValueError),
        (lambda p: p.map(3), TypeError),
        (lambda p: p.map(double, concurrency=0), ValueError),
        (lambda p: p.map(double, on_error="ignore"), ValueError),
        (lambda p: p.map(double, timeout=0), ValueError),
        (lambda p: p.map(double, executor="gpu"), ValueError),
        (lambda p: p.map(jittered_async, executor="process"), TypeError),
        (lambda p: p.map(double, executor="task"), TypeError),
        (lambda p: p.to_device(0).map(double), ValueError),
        (lambda p: p.prefetch(2).prefetch(2), ValueError),
        (lambda p: p.map(lambda x: x, executor="process"), PipelineError),
    ],
)
def test_misdeclared(declare, error):
    with pytest.raises(error):
        declare(Pipeline(range(4)))


def test_an_item_s_generator_is_a_philox_keyed_by_seed_and_counted_by_item_and_epoch():
    """Streams stay what they were: whoever resumes an old run draws the same."""

    def first(x, rng):
        return rng.random(), x

    pipe = Pipeline(range(4), seed=3).map(first)
    for epoch in range(2):
        for value, at in pipe:
            bits = np.random.Philox(key=np.array([3, 0], np.uint64), counter=np.array([0, 0, at, epoch], np.uint64))
            assert value == np.random.Generator(bits).random()


def test_an_item_s_generator_pickles():
    drawn = [pickle.loads(pickle.dumps(rng)).random() == rng.random() for rng in Pipeline(range(3)).map(_keep)]
    assert drawn == [True] * 3


def _keep(_, rng):
    return rng
