"""Sums that are added up in the pass that makes their input."""

from __future__ import annotations

import numpy as np
import pytest

import owl
import owl.testing


@pytest.mark.parametrize("rows", [1, 2, 17])
@pytest.mark.parametrize("columns", [1, 100, 241, 1000])
def test_a_sum_over_columns_has_the_same_bits_fused_or_not(rng, rows, columns) -> None:
    numbers = rng.uniform(-1, 1, (columns, rows)).astype(np.float32)

    def total() -> bytes:
        return (owl.from_numpy(numbers) * 1.5 + 0.75).sum(1).to_numpy().tobytes()

    fused = total()
    with owl.testing.unfused():
        assert total() == fused
