"""Unannotated loops: the same bits however windows and plans come out, and plans that come round and store little."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

import owl.testing
from owl import _runtime
from tests.planner.harness import Steps, assert_same_bits, by_recording_alone, in_fresh_thread, threads
from tests.planner.loops import LOOPS, Loop

SMALL_BATCH = 16
FEW_STEPS = 18  # long enough to learn, to settle and to come round
BATCH = 256

every_loop = pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.name)


@contextmanager
def _planned_afresh() -> Iterator[None]:
    """No plan is known: each is compiled when it is first needed."""
    _runtime.clear_plans()
    yield


def _setting(name: str) -> AbstractContextManager[None]:
    return {
        "fused, compiled now": _planned_afresh,
        "fused, compiled before": by_recording_alone,
        "unfused": owl.testing.unfused,
        "one thread": lambda: threads(1),
        "two threads": lambda: threads(2),
        "tiny windows": lambda: owl.testing.bounds(nodes=7),
        "random windows 1": lambda: owl.testing.random_windows(1),
        "random windows 2": lambda: owl.testing.random_windows(2),
        "random windows 3": lambda: owl.testing.random_windows(3),
    }[name]()


SETTING_NAMES = (
    "fused, compiled now",
    "fused, compiled before",
    "one thread",
    "two threads",
    "tiny windows",
    "random windows 1",
    "random windows 2",
    "random windows 3",
)


@every_loop
def test_every_setting_gives_the_same_bits(loop: Loop) -> None:
    def run() -> list:
        return in_fresh_thread(lambda: loop.run(range(FEW_STEPS), SMALL_BATCH))

    with _setting("unfused"):
        wanted = run()
    for name in SETTING_NAMES:
        with _setting(name):
            found = run()
        try:
            assert_same_bits(found, wanted)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


@pytest.mark.parametrize("batch", [240, 248, 252, 260, 264, 272])
@pytest.mark.parametrize("name", ["branch", "loss_in_middle"])
def test_plans_do_not_depend_on_hashes(name: str, batch: int) -> None:
    """Once, a place was forgotten where the hash of another one was alike. Shapes change all hashes."""
    loop = next(loop for loop in LOOPS if loop.name == name)
    _runtime.clear_plans()
    steps = Steps(loop.steps)
    with by_recording_alone():
        in_fresh_thread(lambda: loop.run(steps, batch))
    assert loop.stored is not None
    assert steps.stored_per_step <= loop.stored(batch)


@every_loop
def test_known_plans_and_stored_bytes_in_the_second_half(loop: Loop) -> None:
    """What the planner does here depends on what is recorded, not on time: the counters are exact."""
    _runtime.clear_plans()
    steps = Steps(loop.steps)
    with by_recording_alone():
        in_fresh_thread(lambda: loop.run(steps, BATCH))
    assert steps.hit_rate >= loop.hits
    if loop.stored is not None:
        assert steps.stored_per_step <= loop.stored(BATCH)
