"""Arrays in files while the event loop goes on."""

import asyncio
import threading

import numpy as np
import pytest

import owl
import owl.aio
from owl import _runtime
from owl._files import save_load

pytest.importorskip("safetensors")


@pytest.fixture
def held(monkeypatch):
    """The disk stops a thread that is about to sync until it is let go on: `reached`, `go`."""
    import os

    reached, go, sync = threading.Event(), threading.Event(), os.fsync

    def wait(descriptor):
        reached.set()
        assert go.wait(60)
        sync(descriptor)

    monkeypatch.setattr("os.fsync", wait)
    yield reached, go
    go.set()


async def until(event):
    """Lets the loop go round until another thread has set an event; how often it went round."""
    rounds = 0
    while not event.is_set():
        rounds += 1
        await asyncio.sleep(0.001)
    return rounds


def test_what_is_saved_is_loaded(run, tmp_path):
    async def main():
        x = owl.ones([3, 2]) * 2
        await owl.aio.save(tmp_path / "net", {"layers": [{"w": x}]}, step="7")
        return await owl.aio.load(tmp_path / "net")

    w = run(main)["layers"][0]["w"]
    np.testing.assert_array_equal(w.to_numpy(), np.full((2, 3), 2, np.float32))
    assert owl.load_metadata(tmp_path / "net") == {"step": "7"}


def test_the_value_is_that_of_the_call(run, tmp_path, slow):
    async def main():
        x = owl.ones([3]) + 1
        saving = asyncio.ensure_future(owl.aio.save(tmp_path / "net", [x]))
        await asyncio.sleep(0)
        x += 5
        await saving
        return await owl.aio.load(tmp_path / "net")

    assert float(run(main)[0].sum()) == 6


def test_the_loop_goes_round_while_the_disk_is_slow(run, tmp_path, held):
    reached, go = held

    async def main():
        saving = asyncio.ensure_future(owl.aio.save(tmp_path / "net", [owl.ones([1000])]))
        await until(reached)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not saving.done()
        assert not (tmp_path / "net").exists()
        go.set()
        await saving

    run(main)
    assert float(owl.load(tmp_path / "net")[0].sum()) == 1000


def test_the_loop_goes_round_while_a_file_is_read(run, tmp_path, monkeypatch):
    owl.save(tmp_path / "net", [owl.ones([1000])])
    reached, go, read = threading.Event(), threading.Event(), save_load.read

    def wait(path):
        reached.set()
        assert go.wait(60)
        return read(path)

    monkeypatch.setattr(save_load, "read", wait)

    async def main():
        loading = asyncio.ensure_future(owl.aio.load(tmp_path / "net"))
        await until(reached)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not loading.done()
        go.set()
        return await loading

    assert float(run(main)[0].sum()) == 1000


def test_a_save_that_is_cancelled_leaves_the_old_file_and_ends_before_the_cancellation(run, tmp_path, held):
    reached, go = held
    path = tmp_path / "net"
    go.set()
    owl.save(path, [owl.ones([3])])
    before = path.read_bytes()
    reached.clear()
    go.clear()

    async def main():
        saving = asyncio.ensure_future(owl.aio.save(path, [owl.ones([3]) * 2]))
        await until(reached)
        for _ in range(2):  # cancelled again while it waits for the thread
            saving.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            assert not saving.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await saving
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]
        await owl.aio.save(path, [owl.ones([3]) * 4])

    run(main)
    assert float(owl.load(path)[0].sum()) == 12


def test_a_save_that_is_cancelled_while_it_computes_writes_nothing(run, tmp_path, slow):
    async def main():
        saving = asyncio.ensure_future(owl.aio.save(tmp_path / "net", [owl.ones([3]) + 1]))
        await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving

    run(main)
    assert list(tmp_path.iterdir()) == []


def test_errors_are_those_of_the_blocking_twins(run, tmp_path):
    async def main():
        with pytest.raises(owl.OwlValueError, match=r"nest\['a\.b'\]"):
            await owl.aio.save(tmp_path / "net", {"a.b": owl.ones([1])})
        with pytest.raises(owl.OwlValueError, match="no folder"):
            await owl.aio.save(tmp_path / "nowhere" / "net", [owl.ones([1])])
        with pytest.raises(FileNotFoundError):
            await owl.aio.load(tmp_path / "net")
        _runtime.inject_fault("exp")
        with pytest.raises(owl.ExecutionError):
            await owl.aio.save(tmp_path / "net", {"x": owl.elewise.exp(owl.ones([1]))})
        (tmp_path / "net").write_bytes(b"nothing")
        with pytest.raises(owl.OwlValueError, match="not a safetensors file"):
            await owl.aio.load(tmp_path / "net")

    run(main)


def test_arrays_are_loaded_onto_a_device(run, tmp_path, devices):
    owl.save(tmp_path / "net", [owl.ones([4])])

    async def main():
        return await owl.aio.load(tmp_path / "net", devices[1])

    [x] = run(main)
    assert x.device == devices[1]
    assert float((x + 1).sum()) == 8
