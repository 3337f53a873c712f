"""A slow consumer stops the source, by items and by bytes; stats say who waits for whom."""

import asyncio
import statistics
import time
import xml.etree.ElementTree

import numpy as np
import pytest

from owl.aio.pipeline import Pipeline
from owl.aio.pipeline.stats import PipelineStats, StageStats
from tests.support.leaks import owl_threads

MEBIBYTE = 1 << 20


def counting(make):
    """A source that counts what was read from it."""
    read = []

    def source():
        while True:
            read.append(len(read))
            yield make(len(read))

    return source, read


def ahead_of(pipe, read, consumed, pause=0.15):
    """How many items the source is ahead once a consumer has stopped for a while."""
    with pipe as items:
        for _ in range(consumed):
            next(items)
        time.sleep(pause)
        first = len(read)
        time.sleep(pause / 3)
        assert len(read) == first, "the source goes on although nobody takes anything"
        return first - consumed


def test_prefetch_bounds_what_is_read_ahead():
    source, read = counting(lambda n: n)
    # prefetch, in the source's hands, and one taken from it by the reader
    assert ahead_of(Pipeline(source).prefetch(3), read, 5) <= 3 + 2


def test_bounded_by_items_through_stages():
    def slow(x):
        time.sleep(0.002)
        return x

    source, read = counting(lambda n: n)
    pipe = Pipeline(source).prefetch(2).map(slow, concurrency=2).prefetch(2).batch(2, collate=list).prefetch(2)
    assert ahead_of(pipe, read, 2) <= 30


@pytest.mark.parametrize("asynchronous", [False, True])
def test_bounded_by_bytes(asynchronous):
    source, read = counting(lambda n: np.zeros(MEBIBYTE, np.uint8))

    async def source_async():
        for item in source():
            yield item

    pipe = Pipeline(source_async if asynchronous else source, buffer_bytes=16 * MEBIBYTE).map(lambda x: x)
    # Two queues of 8 MiB, and what the stages have in hand.
    assert ahead_of(pipe, read, 3, pause=0.3) <= 16 + 12


def test_an_item_larger_than_the_buffer_passes():
    items = [np.zeros(MEBIBYTE, np.uint8) for _ in range(5)]
    assert len(list(Pipeline(items, buffer_bytes=1000).map(lambda x: x).batch(2))) == 3


@pytest.mark.asyncio
async def test_the_loop_stays_free():
    """Neither stacking nor plain functions run on the caller's loop."""

    def blocking(x):
        time.sleep(0.4)
        return x

    longest = 0.0

    async def heartbeat():
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began)

    beat = asyncio.ensure_future(heartbeat())
    async with Pipeline(range(4)).map(blocking, concurrency=2) as items:
        assert [x async for x in items] == list(range(4))
    beat.cancel()
    assert longest < 0.3  # a busy machine may keep it waiting, but not for as long as one item takes


def test_stats_of_a_starved_run():
    took = []

    def slow(x):
        began = time.perf_counter()
        time.sleep(0.004)
        took.append(time.perf_counter() - began)
        return x

    pipe = Pipeline(range(60)).map(slow, name="decode").batch(4)
    assert "Nothing" in pipe.stats().bottleneck
    list(pipe)
    stats = pipe.stats()
    source, decode, batch = stats.stages
    assert stats.delivered == 15
    assert (source.items, decode.items, batch.items) == (60, 60, 15)
    assert decode.busy > 0.7
    assert decode.p50 == pytest.approx(statistics.median(took), rel=0.3)
    assert decode.p99 >= decode.p50
    assert batch.starved > 0.6
    assert all(word in stats.bottleneck for word in ("Starved", "'decode'", "concurrency"))
    assert "decode" in str(stats)


def test_stats_of_a_saturated_run():
    pipe = Pipeline(range(40)).map(lambda x: x, name="decode").batch(2).prefetch(2)
    for _ in pipe:
        time.sleep(0.01)
        in_flight = pipe.stats()
    assert in_flight.delivered == 20
    stats = pipe.stats()
    assert stats.waited < 0.2
    assert stats.stages[2].blocked > 0.5
    assert "consumer" in stats.bottleneck


def test_pictures():
    pipe = Pipeline(range(8)).shuffle(seed=1).map(lambda x: x, name="<b>&decode", concurrency=4, timeout=2).batch(2)
    text = str(pipe)
    assert [line.split()[1] for line in text.splitlines()[1:]] == ["source", "shuffle", "<b>&decode", "batch"]
    assert "4 threads, timeout 2 s" in text
    for _ in range(2):
        root = xml.etree.ElementTree.fromstring(pipe.to_svg())
        titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
        assert "<b>&decode" in titles
        list(pipe)
    assert any("items/s" in title for title in titles)


def test_progress(capsys):
    assert len(list(Pipeline(range(8), progress=True).batch(2))) == 4
    assert "4/4" in capsys.readouterr().err


def test_length():
    assert len(Pipeline(range(10)).batch(3)) == 4
    assert len(Pipeline(range(10)).batch(3, drop_last=True).batch(2)) == 2
    with pytest.raises(TypeError, match="length"):
        len(Pipeline(lambda: range(3)))


def test_a_reader_that_puts_by_itself_keeps_the_order_when_nobody_takes_anything_for_long():
    def slow():
        for at in range(60):
            time.sleep(0.003 if at < 45 else 0)  # then the reader is quick enough to go through the loop again
            yield at

    got = []
    for at in Pipeline(slow).prefetch(2):
        got.append(at)
        if at in (12, 30):
            time.sleep(0.1)  # longer than the reader waits for room
    assert got == list(range(60))


def test_leaving_while_a_reader_waits_for_room_ends_it():
    def slow():
        while True:
            time.sleep(0.002)
            yield 0

    with Pipeline(slow).prefetch(1) as items:
        for _ in range(5):
            next(items)
        time.sleep(0.03)
    assert owl_threads() == []


def stage_stats(name, busy):
    return StageStats(name, 1, 1000, 0, 100.0, busy, 0.1, 0.1, 0, 2, 1e-4, 1e-3, "widen it")


@pytest.mark.parametrize(
    ("waited", "busy", "said"),
    [
        (0.01, (0.01, 0.99), "Saturated: the consumer is the bottleneck"),
        (0.9, (0.01, 0.99), "the bottleneck is 'b' (99% busy"),
        (0.9, (0.5, 0.2), "the bottleneck is 'a' (50% busy"),
        (0.4, (0.01, 0.3), "the consumer is the bottleneck"),
        (0.9, (0.4, 0.45), "no stage alone is the bottleneck: together they were busy for 85%"),
        (0.9, (0.01, 0.0), "the hand-over itself is the bottleneck"),
    ],
)
def test_a_stage_is_called_the_bottleneck_only_if_it_is_busy_for_half_of_the_time(waited, busy, said):
    stages = tuple(stage_stats(name, share) for name, share in zip("ab", busy))
    sentence = PipelineStats(stages, 10.0, 1000, waited).bottleneck
    assert said in sentence
    assert ("widen it" in sentence) == (max(busy) >= 0.5 and waited > 0.05)
