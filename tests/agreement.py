"""How tests draw arrays and compare results with float64 NumPy."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
from numpy.typing import NDArray

import owl
from owl import _runtime

DTYPES = [np.float32, np.float64]
SIZES = [0, 1, 1, 2, 3, 5, 8, 17, 33, 64, 130]  # around the widths of vectors, unrolled loops and blocks


@st.composite
def shapes(draw: st.DrawFn, min_dims: int = 0, max_dims: int = 8, most: int = 4000, empty: bool = True) -> list[int]:
    """Shapes of at most `most` elements."""
    shape: list[int] = []
    for _ in range(draw(st.integers(min_dims, max_dims))):
        room = most // max(1, math.prod(size for size in shape if size))
        fitting = [size for size in SIZES if size <= room and (size or empty)]
        shape.append(draw(st.sampled_from(fitting or [1])))
    return shape


@st.composite
def broadcast_pair(draw: st.DrawFn, **limits: Any) -> tuple[list[int], list[int]]:
    """Two shapes that `+` accepts: equal, but for dimensions of 1."""
    common = draw(shapes(**limits))
    sides = [draw(st.sampled_from(["both", "left", "right"])) if size != 1 else "both" for size in common]
    left = [1 if side == "right" else size for side, size in zip(sides, common)]
    right = [1 if side == "left" else size for side, size in zip(sides, common)]
    return left, right


def values(
    rng: np.random.Generator, shape: list[int], dtype: Any = np.float32, low: float = -3, high: float = 3
) -> NDArray:
    """Numbers between `low` and `high` for an owl array of this shape: a NumPy array with reversed dimensions."""
    return rng.uniform(low, high, shape[::-1]).astype(dtype)


def array(numbers: NDArray) -> owl.NArray:
    return owl.from_numpy(numbers, dtype=numbers.dtype)


def wide(numbers: NDArray) -> NDArray[np.float64]:
    return np.asarray(numbers, np.float64)


def agree(
    result: Any, expected: Any, dtype: Any = None, terms: int = 1, ulps: float = 4, scale: float | None = None
) -> None:
    """Asserts shape, dtype, and that the error is a few units in the last place of the largest number that took part.

    `terms` is how many numbers each result adds up; `scale` the size of these numbers, where sums cancel.
    """
    found = result.to_numpy() if isinstance(result, owl.NArray) else np.asarray(result)
    expected = np.asarray(expected)
    if dtype is not None:
        assert found.dtype == dtype
    assert found.shape == expected.shape
    epsilon = float(np.finfo(found.dtype).eps)
    tiny = float(np.finfo(found.dtype).tiny)
    with np.errstate(over="ignore"):
        expected = expected.astype(found.dtype)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    infinite = ~np.isfinite(expected)
    np.testing.assert_array_equal(found[infinite], expected[infinite])
    allowed = epsilon * (ulps + math.sqrt(terms)) * np.maximum(np.abs(wide(expected)), scale or 0) + tiny
    wrong = np.abs(wide(found) - wide(expected)) > allowed
    wrong &= ~infinite
    assert not wrong.any(), (
        f"{wrong.sum()} of {wrong.size} elements differ; the first: {found[wrong][0]!r}, not {expected[wrong][0]!r}"
    )


def same_bits(left: NDArray, right: NDArray) -> None:
    """Asserts that two arrays are equal to the last bit, signs of zeros and kinds of NaN included."""
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    differ = left.view(f"u{left.itemsize}") != right.view(f"u{right.itemsize}") if left.ndim else left != right
    assert not np.any(differ), f"{np.sum(differ)} of {left.size} elements differ in their bits"


def same_numbers(left: NDArray, right: NDArray) -> None:
    """Asserts that two arrays are equal to the last bit. Which NaN it is differs between processors."""
    assert left.dtype == right.dtype
    same_bits(*(np.where(np.isnan(x), left.dtype.type(np.nan), x) for x in (left, right)))


def same_on_a_gpu(cpu: NDArray[Any], gpu: NDArray[Any]) -> None:
    """The same numbers; nearly the same where the CPU has no FMA, so that it rounds twice."""
    if _runtime.isa() == "generic":
        np.testing.assert_allclose(cpu, gpu, rtol=1e-3, atol=1e-4)
    else:
        same_numbers(cpu, gpu)
