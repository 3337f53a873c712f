"""Values that one task leaves to another, and the order in which they come to run."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import owl
import owl.testing
from owl import _runtime


def test_a_task_that_ends_between_two_readers_of_its_value() -> None:
    """The second reader takes the value over; the first, recorded before, still comes after it."""

    async def make() -> owl.NArray:
        return owl.ones([4]) + 1.0

    async def main() -> tuple[np.ndarray, np.ndarray]:
        task = asyncio.create_task(make())
        value = await task
        first = value * 3.0
        del task
        await asyncio.sleep(0)
        second = value * 5.0
        with owl.testing.bounds(nodes=2):
            owl.ones([1]) + 1.0
        return first.to_numpy(), second.to_numpy()

    first, second = asyncio.run(main())
    np.testing.assert_array_equal(first, [6.0] * 4)
    np.testing.assert_array_equal(second, [10.0] * 4)


def test_a_leftover_is_computed_once_by_wait_for_all() -> None:
    """A value that was left over at a demand lies neither in the open window nor twice in what is handed over."""
    weights = owl.ones([64, 64])
    data = owl.ones([64, 64])
    seen = []
    for _ in range(8):
        gradient = weights * data
        weights -= 0.001 * gradient
        seen.append(float(weights.sum()))
    before = owl.testing.planner_counters()
    owl.wait_for_all()
    after = owl.testing.planner_counters()
    assert after["nodes"] - before["nodes"] <= 2
    np.testing.assert_allclose(gradient.to_numpy(), gradient.to_numpy())
    assert len(set(seen)) == len(seen)


@pytest.mark.long
def test_places_of_values_that_are_stored_have_a_bound():
    for size in range(1024, 1024 + 20000):
        x = owl.zeros([size])
        x.wait_for_eval()
        y = x + 1
        (y * 2).wait_for_eval()  # y was used, and stays recorded
        y.wait_for_eval()
    assert 1000 < _runtime.planner_counters()["stored_places"] <= 1 << 14
