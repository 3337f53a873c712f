"""Running sums, takes by position and their gradients, one-hot columns, against NumPy in float64."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from agreement import DTYPES, agree, array, same_bits, same_numbers, shapes, values, wide
from hypothesis import given

import owl

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(DTYPES)


@given(shape=shapes(min_dims=1), seed=seeds, dtype=dtypes, data=st.data())
def test_cumsum(shape, seed, dtype, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    x = values(np.random.default_rng(seed), shape, dtype)
    found = array(x).cumsum(axis - data.draw(st.sampled_from([0, len(shape)])))
    expected = np.cumsum(wide(x), axis=len(shape) - 1 - axis)
    agree(found, expected, dtype, terms=shape[axis] or 1, scale=9 * max(1, shape[axis]) ** 0.5)


def in_pieces(x: np.ndarray) -> np.ndarray:
    """The running sum of a line, as it is documented: pieces of 256, and the sum of those before."""
    out, before = np.empty_like(x), None
    for begin in range(0, len(x), 256):
        sums = np.cumsum(x[begin : begin + 256])
        out[begin : begin + 256] = sums if before is None else before + sums
        before = out[min(len(x), begin + 256) - 1]
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [[1], [255], [256], [257], [513, 3], [70_000], [3, 1000], [130, 300, 2], [5000, 40]])
def test_cumsum_has_the_bits_of_its_pieces(shape, dtype, rng):
    x = values(rng, shape, dtype)
    for axis in range(len(shape)):
        along = len(shape) - 1 - axis
        same_bits(array(x).cumsum(axis).to_numpy(), np.apply_along_axis(in_pieces, along, x))


def test_cumsum_of_zeros_and_infinities():
    x = np.array([-0.0, -0.0, 1, np.inf, 2, -np.inf, 3, np.nan], np.float32)
    with np.errstate(invalid="ignore"):
        same_numbers(array(x).cumsum(0).to_numpy(), np.cumsum(x))


@given(
    shape=shapes(min_dims=1, max_dims=5, empty=False), counts=shapes(max_dims=3, most=60), seed=seeds, data=st.data()
)
def test_take(shape, counts, seed, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    dtype, index_dtype = data.draw(dtypes), data.draw(dtypes)
    rng = np.random.default_rng(seed)
    x, indices = values(rng, shape, dtype), rng.integers(0, shape[axis], counts[::-1])
    found = owl.take(array(x), array(indices.astype(index_dtype)), axis)
    assert found.shape == shape[:axis] + counts + shape[axis + 1 :]
    same_bits(found.to_numpy(), np.take(x, indices, axis=len(shape) - 1 - axis))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "count", "axis"),
    [([64, 1000], 500, 1), ([1, 3000], 40_000, 1), ([3000], 40_000, 0), ([7, 50, 300], 90, 1), ([40_000, 4], 9, 1)],
)
def test_takes_that_threads_share_and_their_gradients(shape, count, axis, dtype, rng):
    x = values(rng, shape, dtype)
    indices = rng.integers(0, shape[axis], count)
    along = len(shape) - 1 - axis
    taken, pull_back = owl.vjp(lambda x: owl.take(x, array(indices.astype(dtype)), axis), array(x))
    same_bits(taken.to_numpy(), np.take(x, indices, axis=along))
    cotangent = values(rng, taken.shape, dtype)
    [gradient] = pull_back(array(cotangent))
    in_order = np.zeros_like(x)
    np.add.at(in_order, (slice(None),) * along + (indices,), cotangent)  # one after the other
    same_bits(gradient.to_numpy(), in_order)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_index_that_is_no_position_gives_nan_and_adds_to_nothing(dtype):
    x = np.arange(1, 7, dtype=dtype).reshape(3, 2)
    indices = np.array([0, -1, 3, 0.5, np.nan, np.inf, -np.inf, 2, 1e30, -0.0], dtype)
    taken, pull_back = owl.vjp(lambda x: owl.take(x, array(indices), 1), array(x))
    expected = np.full((10, 2), np.nan, dtype)
    expected[[0, 7, 9]] = x[[0, 2, 0]]
    np.testing.assert_array_equal(taken.to_numpy(), expected)
    [gradient] = pull_back(owl.ones([2, 10], dtype))
    np.testing.assert_array_equal(gradient.to_numpy(), np.array([[2, 2], [0, 0], [1, 1]], dtype))


def test_takes_of_nothing():
    nothing = owl.zeros([0])
    assert owl.take(owl.zeros([3, 4]), nothing, 1).to_numpy().shape == (0, 3)
    assert owl.take(owl.zeros([3, 0]), nothing, 1).to_numpy().shape == (0, 3)
    assert owl.take(owl.zeros([0, 4]), owl.ones([5]), 1).to_numpy().shape == (5, 0)
    _, pull_back = owl.vjp(lambda x: owl.take(x, nothing, 0), owl.ones([3]))
    np.testing.assert_array_equal(pull_back(nothing)[0].to_numpy(), np.zeros(3))
    assert owl.zeros([3, 0]).cumsum(1).to_numpy().shape == (0, 3)
    assert owl.zeros([3, 0]).cumsum(0).to_numpy().shape == (0, 3)


def test_takes_that_cannot_be():
    x, one = owl.zeros([3, 4]), owl.zeros([1])
    with pytest.raises(owl.AxisError, match=r"\[take\] there is no dimension 2"):
        owl.take(x, one, 2)
    with pytest.raises(owl.OwlTypeError, match=r"\[take\]"):
        owl.take(x, [0], 1)
    with pytest.raises(owl.OwlValueError, match="is empty: there is nothing to take"):
        owl.take(owl.zeros([3, 0]), one, 1)
    with pytest.raises(owl.ShapeError, match="at most 8 dimensions"):
        owl.take(x, owl.zeros([1] * 8), 1)
    with pytest.raises(owl.OwlValueError, match="float32 holds whole numbers"):
        owl.take(owl.zeros([(1 << 24) + 1]), one, 0)


@given(counts=shapes(max_dims=4, most=200), classes=st.integers(0, 9), seed=seeds, dtype=dtypes)
def test_one_hot(counts, classes, seed, dtype):
    labels = np.random.default_rng(seed).integers(-1, 10, counts[::-1])
    found = owl.one_hot(array(labels.astype(dtype)), classes)
    assert found.shape == [classes, *counts]
    np.testing.assert_array_equal(found.to_numpy(), (labels[..., None] == np.arange(classes)).astype(dtype))


def test_one_hot_of_too_few_classes():
    with pytest.raises(owl.OwlValueError, match="cannot be -1"):
        owl.one_hot(owl.zeros([2]), -1)
    with pytest.raises(owl.DTypeError, match="whole number"):
        owl.one_hot(owl.zeros([2]), 2.5)


def test_a_take_in_a_loop_is_planned_once(rng):
    table, labels = array(values(rng, [4, 10])), rng.integers(0, 10, [20, 6])
    for row in labels:
        taken = owl.take(table * 2, array(row.astype(np.float32)), 1) + 1
        np.testing.assert_array_equal(taken.to_numpy(), (table * 2).to_numpy()[row] + 1)
