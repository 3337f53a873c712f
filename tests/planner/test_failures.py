"""Failures inside plans: whatever depends on a value that does not exist fails too, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

import owl
import owl.testing


def test_a_product_fails_with_the_operand_whose_transpose_it_absorbed() -> None:
    x = owl.from_numpy(np.ones((4, 3), np.float32))
    with owl.testing.faults("exp"):
        y = owl.elewise.exp(x).trans() * owl.ones([3, 2])
        with pytest.raises(owl.ExecutionError, match="exp"):
            y.to_numpy()
    np.testing.assert_array_equal((x.trans() * owl.ones([3, 2])).to_numpy(), np.full((2, 4), 3.0))


def test_outputs_of_a_plan_with_leftovers_and_a_failed_input() -> None:
    """Such a plan runs unfused; each value still goes to its own array."""
    data = owl.from_numpy(np.full((64, 64), 2.0, np.float32))
    weights = owl.ones([64, 64])
    bias = owl.ones([64, 64])
    for _ in range(6):
        gradient = owl.elewise.mult(weights, data)
        weights -= 0.125 * gradient
        bias -= 0.5 * bias
        float(bias.sum())
    with owl.testing.faults("exp"):
        broken = owl.elewise.exp(data)
        with pytest.raises(owl.ExecutionError):
            broken.to_numpy()
    gradient = owl.elewise.mult(weights, data)
    weights -= 0.125 * gradient
    bias -= 0.5 * broken
    with pytest.raises(owl.ExecutionError):
        float(bias.sum())
    np.testing.assert_array_equal(gradient.to_numpy(), np.full((64, 64), 2 * 0.75**6, np.float32))
    np.testing.assert_array_equal(weights.to_numpy(), np.full((64, 64), 0.75**7, np.float32))
