"""Random programs of streams and events: what the checker accepts has the same numbers under every schedule."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.gpu.contract.driving import SUCCESS, Driver, copying, fresh

STREAMS, EVENTS, BLOCKS, PINNED, COUNT = 3, 3, 3, 2, 8
SCHEDULES = [{"lazy": True, "seed": seed} for seed in range(4)] + [{"lazy": False}]
BYTES = 4 * COUNT


@dataclass
class Model:
    """What memory holds if each operation is over when it is written."""

    blocks: np.ndarray = field(default_factory=lambda: np.zeros((BLOCKS, COUNT), np.float32))
    pinned: np.ndarray = field(default_factory=lambda: np.zeros((PINNED, COUNT), np.float32))
    seen: list[np.ndarray] = field(default_factory=list)  # by the host


def program(seed: int) -> list[tuple]:
    """Steps that go from stream to stream, with an event between them or, now and then, without."""
    coin, steps, stream = random.Random(seed), [], 0
    careless = coin.choice([0.0, 0.05, 0.3])
    for _ in range(coin.randint(5, 25)):
        if coin.random() < 0.4:
            event, stream, before = coin.randrange(EVENTS), coin.randrange(STREAMS), stream
            steps.append(("record", before, event))
            if coin.random() >= careless:
                steps.append(("wait", stream, event))
        kind = coin.choice(["fill", "copy", "copy", "upload", "download", "write", "read"])
        if kind in ("write", "read") and coin.random() >= careless:
            steps.append(("synchronize", stream))
        steps.append((kind, stream, coin.randrange(BLOCKS), coin.randrange(BLOCKS), coin.randrange(PINNED), len(steps)))
    return steps


def play(driver: Driver, steps: list[tuple]) -> tuple[Model, Model]:
    """The numbers that were, and those of the model."""
    was, model = Model(), Model()
    streams = [driver.stream() for _ in range(STREAMS)]
    events = [driver.event() for _ in range(EVENTS)]
    function = driver.kernel("copy_f32_f32_i32")
    blocks = [driver.on_device(model.blocks[0], streams[0]) for _ in range(BLOCKS)]
    pinned = [driver.pinned(COUNT) for _ in range(PINNED)]
    for memory in pinned:
        memory[:] = 0
    driver.ok("cuCtxSynchronize")
    for kind, number, *rest in steps:
        stream = streams[number]
        if kind == "record":
            driver.ok("cuEventRecord", events[rest[0]], stream)
            continue
        if kind == "wait":
            driver.ok("cuStreamWaitEvent", stream, events[rest[0]], 0)
            continue
        if kind == "synchronize":
            driver.ok("cuStreamSynchronize", stream)
            continue
        source, target, host, value = rest
        if kind == "fill":
            model.blocks[target] = value
            assert driver.upload(blocks[target], np.full(COUNT, value, np.float32), stream) == SUCCESS
        elif kind == "copy":
            model.blocks[target] = model.blocks[source]
            assert driver.launch(function, copying(blocks[source], blocks[target], COUNT), stream) == SUCCESS
        elif kind == "upload":
            model.blocks[target] = model.pinned[host]
            assert driver.upload(blocks[target], pinned[host], stream) == SUCCESS
        elif kind == "download":
            model.pinned[host] = model.blocks[source]
            assert driver.download(pinned[host], blocks[source], stream) == SUCCESS
        else:
            driver.host_access(pinned[host].ctypes.data, BYTES, kind == "write")
            if kind == "write":
                pinned[host][:] = model.pinned[host] = value
            was.seen.append(pinned[host].copy())
            model.seen.append(model.pinned[host].copy())
    driver.ok("cuCtxSynchronize")
    was.blocks = np.stack([driver.numbers(block, COUNT, streams[0]) for block in blocks])
    was.pinned = np.stack(pinned)
    for stream in streams:  # and its thread
        driver.ok("cuStreamDestroy_v2", stream)
    return was, model


def same(x: Model, y: Model) -> bool:
    parts = [(x.blocks, y.blocks), (x.pinned, y.pinned), *zip(x.seen, y.seen)]
    return all(np.array_equal(a, b) for a, b in parts)


@pytest.fixture(scope="module")
def played(path, tmp_path_factory):
    """Of each program, for each schedule: the problems, and whether the numbers were those of the written order."""
    found = []
    for seed in range(120):
        folder = tmp_path_factory.mktemp("drivers")
        outcomes = []
        for schedule in SCHEDULES:
            driver = fresh(path, folder).started(**schedule)
            was, model = play(driver, program(seed))
            outcomes.append((driver.problems(), same(was, model)))
        for copy in folder.iterdir():
            copy.unlink()
        found.append(outcomes)
    return found


def test_what_the_checker_accepts_has_one_result(played):
    accepted = [outcomes for outcomes in played if not outcomes[0][0]]
    assert len(accepted) > 50
    assert all(right for outcomes in accepted for _, right in outcomes)


def test_the_checker_finds_the_same_under_every_schedule(played):
    for outcomes in played:
        assert all(problems == outcomes[0][0] for problems, _ in outcomes)


def test_some_that_it_refuses_go_wrong(played):
    refused = [outcomes for outcomes in played if outcomes[0][0]]
    assert len(refused) > 20
    assert sum(not all(right for _, right in outcomes) for outcomes in refused) > 5
