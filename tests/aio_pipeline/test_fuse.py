"""Stages of one thread each run together, and part where that would cost time; results do not tell which."""

import asyncio
import threading
import time

import numpy as np
import pytest

from owl.aio.pipeline import Pipeline, PipelineError


async def _collect(pipe):
    async with pipe as items:
        return [item async for item in items]


def _both_faces(pipe):
    return [list(pipe), asyncio.run(_collect(pipe))]


def test_quick_stages_share_a_thread():
    seen = set()

    def note(x):
        seen.add(threading.current_thread())
        return x

    pipe = Pipeline(range(3000)).map(note, name="a").map(note, name="b").batch(10, collate=note)
    assert [x for batch in pipe for x in batch] == list(range(3000))
    assert len(seen) == 1


def test_stages_with_a_wish_of_their_own_do_not_share_a_thread():
    threads = {}

    def note(name):
        def fn(x):
            threads.setdefault(name, set()).add(threading.current_thread())
            return x

        return fn

    pipe = Pipeline(range(100)).map(note("a")).prefetch(3).map(note("b"), timeout=5).map(note("c"), name="c")
    assert list(pipe) == list(range(100))
    assert not threads["a"] & threads["b"]
    assert not threads["b"] & threads["c"]


def test_stages_that_wait_hide_each_others_time():
    lock = threading.Lock()
    waiting = most = 0

    def wait(x):
        nonlocal waiting, most
        with lock:
            waiting += 1
            most = max(most, waiting)
        time.sleep(0.005)
        with lock:
            waiting -= 1
        return x

    class Slow:
        def __len__(self):
            return 80

        def __getitem__(self, at):
            return wait(at)

    assert list(Pipeline(Slow()).map(wait, name="a").map(wait, name="b")) == list(range(80))
    assert most == 3


@pytest.mark.parametrize("slow_from", [0, 37, 500])
def test_parting_loses_and_doubles_nothing(slow_from):
    def slow(x):
        if slow_from <= x < slow_from + 60:
            time.sleep(0.001)
        return x

    pipe = Pipeline(list(range(600))).map(slow, name="a").map(slow, name="b").batch(7).map(np.sum, name="sum")
    expected = [sum(range(at, min(600, at + 7))) for at in range(0, 600, 7)]
    for sums in _both_faces(pipe):
        assert sums == expected
    assert [stage.items for stage in pipe.stats().stages] == [600, 600, 600, 86, 86]


def test_a_parted_pipeline_counts_what_was_skipped_before():
    def flaky(x):
        time.sleep(0.001)
        if x % 20 == 3:
            raise ValueError(x)
        return x

    pipe = Pipeline(range(100)).map(flaky, on_error="skip", max_skips=3).map(lambda x: time.sleep(0.001) or x)
    with pytest.raises(PipelineError, match="beyond the 3 items") as caught:
        list(pipe)
    assert caught.value.item == 63
    pipe = Pipeline(range(100)).map(flaky, on_error="skip", max_skips=5).map(lambda x: time.sleep(0.001) or x)
    assert list(pipe) == [x for x in range(100) if x % 20 != 3]
    assert pipe.stats().stages[1].skipped == 5


def test_of_failures_in_shared_stages_the_first_item_s_is_raised():
    def fail_at(n):
        def fn(x):
            if x == n:
                raise ValueError(n)
            return x

        return fn

    def run(first, second):
        pipe = Pipeline(range(1000)).map(fail_at(first), name="a").map(fail_at(second), name="b")
        got = []
        with pytest.raises(PipelineError) as caught:
            for x in pipe:
                got.append(x)  # noqa: PERF402 - what came before the error counts
        assert got == list(range(caught.value.item))
        return caught.value.stage, caught.value.item

    assert run(700, 650) == ("b", 650)
    assert run(650, 700) == ("a", 650)


def test_an_error_does_not_send_out_a_batch_that_is_not_full():
    def fn(x):
        if x == 25:
            raise ValueError
        return x

    async def collect(pipe, got):
        async with pipe as batches:
            async for batch in batches:
                got.append(batch)

    def collect_plainly(pipe, got):
        for batch in pipe:
            got.append(batch)

    for face in (collect_plainly, lambda pipe, got: asyncio.run(collect(pipe, got))):
        got = []
        with pytest.raises(PipelineError) as caught:
            face(Pipeline(range(100)).map(fn).batch(10), got)
        assert caught.value.item == 25
        assert [batch.tolist() for batch in got] == [list(range(10)), list(range(10, 20))]


def test_a_list_that_has_shrunk_names_the_item_that_is_gone():
    source = list(range(5000))

    def shrink(x):
        if x == 10:
            del source[4000:]
        return x

    with pytest.raises(PipelineError) as caught:
        list(Pipeline(source).map(shrink))
    assert (caught.value.stage, caught.value.item) == ("source", 4000)
    assert isinstance(caught.value.__cause__, IndexError)


def test_shared_stages_respect_a_queue_s_bound():
    made = []
    pipe = Pipeline(range(10_000)).map(lambda x: made.append(x) or x).batch(10).prefetch(4)
    with pipe as batches:
        next(batches)
        time.sleep(0.3)
        # Four wait, as many are in the thread's hands or on their way, and one has been taken.
        assert len(made) <= 10 * (4 + 4 + 1)


def test_ranges_in_the_state_stay_exact_where_items_were_skipped():
    def fn(x):
        if x in (0, 13, 99):
            raise ValueError
        return x

    def declare():
        return Pipeline(range(100)).map(fn, on_error="skip").batch(8)

    whole = [batch.tolist() for batch in declare()]
    for stop in (1, 3, 12):
        pipe = declare()
        with pipe as batches:
            head = [next(batches).tolist() for _ in range(stop)]
            state = pipe.state_dict()
        rest = declare()
        rest.load_state_dict(state)
        tail = [batch.tolist() for batch in rest]
        assert [x for batch in head + tail for x in batch] == [x for batch in whole for x in batch]


def test_stacking_refuses_what_only_has_the_same_number_of_bytes():
    same_bytes = [np.zeros((2, 8), np.uint8), np.zeros((4, 4), np.uint8), np.zeros(4, np.float32)]
    for other in same_bytes[1:]:
        with pytest.raises(PipelineError, match="ragged") as caught:
            list(Pipeline([same_bytes[0], other]).batch(2))
        assert caught.value.stage == "batch"
