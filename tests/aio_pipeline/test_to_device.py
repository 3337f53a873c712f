"""Batches become NArrays: same values, nothing recorded before a batch is taken, no buffer overwritten while in use."""

import asyncio
import gc

import numpy as np
import pytest

import owl
from owl.aio._staging import StagingRing
from owl.aio.pipeline import Pipeline, PipelineError
from owl.aio.pipeline.buffers import DEPTH, BufferPool, is_pooled
from tests.support.devices import new_device


def images(n, size=20_000):
    return [(np.full(size, x, np.float32), x) for x in range(n)]


def test_values_shapes_and_structure():
    pipe = Pipeline(images(10, size=6)).batch(4).to_device().prefetch(2)
    batches = list(pipe)
    assert [x.shape for x, _ in batches] == [[6, 4], [6, 4], [6, 2]]
    assert np.array_equal(batches[1][0].to_numpy()[:, 0], [4, 5, 6, 7])
    assert batches[2][1].to_numpy().tolist() == [8, 9]
    named = next(iter(Pipeline([{"x": np.arange(6, dtype=np.uint8), "y": 1}] * 2).batch(2).to_device()))
    assert np.array_equal(named["x"].to_numpy(), [range(6), range(6)])


def test_both_faces():
    async def main():
        async with Pipeline(images(9)).batch(2).to_device() as batches:
            return [x.to_numpy()[:, 0].tolist() async for x, _ in batches]

    assert asyncio.run(main()) == [[0, 1], [2, 3], [4, 5], [6, 7], [8]]


@pytest.mark.parametrize("between", [None, lambda batch: (batch[0].copy(), batch[1])])
def test_what_is_lazy_reads_its_own_batch(between):
    """Sums that are recorded while many later batches pass through the same ring."""
    pipe = Pipeline(images(80)).batch(2)
    if between is not None:
        pipe = pipe.map(between)
    lazy = [x * 2 for x, _ in pipe.to_device().prefetch(2)]
    for at, x in enumerate(lazy):
        expected = [4 * at, 4 * at + 2]
        assert np.array_equal(x.to_numpy()[:, 0], expected)
        assert np.array_equal(x.to_numpy()[:, -1], expected)


def test_buffers_are_reused():
    ring = StagingRing()
    for _ in range(40):
        owl_array = ring.stage(np.ones((100, 400), np.float32)).take()
        assert float((owl_array + 1).sum([0, 1]).to_numpy().ravel()[0]) == 80_000
        del owl_array
        owl.wait_for_all()
    assert ring.pool.made < 10


def test_batches_are_taken_on_the_device_asked_for():
    device = new_device()
    before = owl.get_device()
    x, _ = next(iter(Pipeline(images(2)).batch(2).to_device(device)))
    assert x.device == device
    assert owl.get_device() == before
    assert x.to_numpy()[1, 0] == 1


def test_the_current_device_is_that_of_the_taker():
    device = new_device()
    with Pipeline(images(4)).batch(2).to_device() as batches:
        first, _ = next(batches)
        with device:
            second, _ = next(batches)
    assert first.device == owl.get_device()
    assert second.device == device


@pytest.mark.parametrize("item", ["text", np.array(["a"]), object(), np.zeros(3, complex)])
def test_what_cannot_be_staged(item):
    with pytest.raises(PipelineError, match="cannot stage") as caught:
        list(Pipeline([item]).to_device())
    assert (caught.value.stage, caught.value.item) == ("to_device", 0)


def test_a_stacked_batch_is_staged_where_it_is():
    ring = StagingRing(adopt=True)
    stacked = ring.pool.empty((64, 1024), np.float32)
    stacked[:] = 1
    assert ring.stage(stacked)._views[0] is stacked
    assert StagingRing().stage(stacked)._views[0] is not stacked


def test_a_buffer_returns_after_its_last_view():
    pool = BufferPool()
    array = pool.empty((200, 100), np.float64)
    assert is_pooled(array)
    assert array.ctypes.data % 64 == 0
    view = array[3:, 2].reshape(-1, 1)
    del array
    gc.collect()
    assert not pool._free
    other = pool.empty((200, 100), np.float64)
    other[:] = 5
    view[:] = 7
    assert (other == 5).all()
    del view, other
    assert len(pool._free) == 2
    pool.empty((200, 100), np.float64)
    assert pool.made == 2


def test_a_pool_keeps_a_bounded_number_of_buffers():
    pool = BufferPool()
    held = [pool.empty((1 << 16,), np.uint8) for _ in range(20)]
    held.clear()
    assert len(pool._free) == DEPTH
