"""Functions that are made of several operations, against NumPy in float64."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from agreement import DTYPES, agree, array, same_bits, shapes, values, wide
from hypothesis import given

import owl

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(DTYPES)


@st.composite
def shapes_and_axes(draw):
    shape = draw(shapes(min_dims=1, empty=False))
    return shape, draw(st.none() | st.sets(st.integers(0, len(shape) - 1), min_size=1).map(sorted))


def numpy_axes(shape, axes):
    return None if axes is None else tuple(len(shape) - 1 - axis for axis in axes)


@given(where=shapes_and_axes(), seed=seeds, dtype=dtypes, mean=st.sampled_from([0, 100]))
def test_var_and_std(where, seed, dtype, mean):
    shape, axes = where
    x = values(np.random.default_rng(seed), shape, dtype) + dtype(mean)
    for name, scale in (("var", 9), ("std", 3)):
        expected = getattr(np, name)(wide(x), axis=numpy_axes(shape, axes), keepdims=True)
        # The mean is rounded, and with it every difference.
        rounding = np.finfo(dtype).eps * (mean + 3)
        found = getattr(array(x), name)(axes).to_numpy()
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=100 * np.finfo(dtype).eps, atol=4 * rounding * scale)


def test_a_large_mean_takes_no_digits_from_the_variance():
    x = np.array([4096.0, 4097.0, 4098.0], np.float32)
    assert float(array(x).var()) == pytest.approx(2 / 3, rel=1e-6)
    assert float(array(x).std()) == pytest.approx((2 / 3) ** 0.5, rel=1e-6)


@given(where=shapes_and_axes(), seed=seeds, dtype=dtypes, shift=st.sampled_from([0, 700, -700]))
def test_logsumexp(where, seed, dtype, shift):
    shape, axes = where
    x = values(np.random.default_rng(seed), shape, dtype) + dtype(shift)
    along = numpy_axes(shape, axes)
    peak = wide(x).max(axis=along, keepdims=True)
    expected = peak + np.log(np.exp(wide(x) - peak).sum(axis=along, keepdims=True))
    agree(array(x).logsumexp(axes), expected, dtype, scale=10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logsumexp_of_infinities(dtype):
    x = np.array([[-np.inf, -np.inf], [0, -np.inf], [np.inf, 0], [np.inf, -np.inf], [np.nan, 0]], dtype)
    expected = np.array([[-np.inf], [0], [np.inf], [np.inf], [np.nan]], dtype)
    np.testing.assert_array_equal(array(x).logsumexp(0).to_numpy(), expected)
    with pytest.raises(owl.OwlValueError, match=r"\[logsumexp\] dimension 0"):
        owl.zeros([0, 2]).logsumexp()


@given(shape=shapes(min_dims=1, empty=False), seed=seeds, dtype=dtypes, data=st.data())
def test_argmin_takes_the_first_of_equals_and_nan_as_smallest(shape, seed, dtype, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, shape[::-1]).astype(dtype)
    if data.draw(st.booleans()):
        x[rng.random(x.shape) < 0.1] = data.draw(st.sampled_from([np.nan, np.inf]))
    found = array(x).argmin(axis).to_numpy()
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.argmin(x, axis=len(shape) - 1 - axis, keepdims=True))


@pytest.mark.parametrize("shape", [[1000, 3], [3, 1000], [5000, 1], [40, 3, 50]])
@pytest.mark.parametrize("dtype", DTYPES)
def test_argmin_of_long_lines(shape, dtype, rng):
    x = values(rng, shape, dtype)
    for axis in range(len(shape)):
        expected = x.argmin(len(shape) - 1 - axis, keepdims=True)
        np.testing.assert_array_equal(array(x).argmin(axis).to_numpy(), expected)


@given(shape=shapes(max_dims=7, most=500), count=st.integers(1, 4), seed=seeds, dtype=dtypes, data=st.data())
def test_stack(shape, count, seed, dtype, data):
    dim = data.draw(st.integers(-len(shape) - 1, len(shape)))
    rng = np.random.default_rng(seed)
    parts = [values(rng, shape, dtype) for _ in range(count)]
    same_bits(owl.stack([array(part) for part in parts], dim).to_numpy(), np.stack(parts, -1 - dim))


def test_stacks_that_cannot_be():
    with pytest.raises(owl.ShapeError, match=r"\[stack\] shapes \[2\] and \[3\] differ"):
        owl.stack([owl.zeros([2]), owl.zeros([3])], 0)
    with pytest.raises(owl.OwlValueError, match="at least one"):
        owl.stack([], 0)
    with pytest.raises(owl.AxisError, match=r"\[stack\]"):
        owl.stack([owl.zeros([2])], 2)
    with pytest.raises(owl.OwlTypeError, match=r"\[stack\]"):
        owl.stack([np.zeros(2)], 0)


@given(shape=shapes(most=500), seed=seeds, data=st.data())
def test_squeeze(shape, seed, data):
    x = values(np.random.default_rng(seed), shape)
    same_bits(array(x).squeeze().to_numpy(), np.squeeze(x))
    ones = [d for d, size in enumerate(shape) if size == 1]
    chosen = data.draw(st.lists(st.sampled_from(ones), unique=True)) if ones else []
    same_bits(array(x).squeeze(chosen).to_numpy(), np.squeeze(x, tuple(len(shape) - 1 - d for d in chosen)))
    for d, size in enumerate(shape):
        if size != 1:
            with pytest.raises(owl.ShapeError, match=rf"\[squeeze\] dimension {d} "):
                array(x).squeeze(d)


@given(
    shape=shapes(max_dims=4, most=200), seed=seeds, dtype=dtypes, data=st.data(), value=st.sampled_from([0, -1.5, 7])
)
def test_pad(shape, seed, dtype, data, value):
    widths = [tuple(data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))) for _ in shape]
    x = values(np.random.default_rng(seed), shape, dtype)
    same_bits(
        owl.pad(array(x), widths, value).to_numpy(), np.pad(x, widths[::-1], constant_values=value) if shape else x
    )


@pytest.mark.parametrize("widths", [[], [(1, 1)], [(1, 1), (0, -1)], [(1,), (1, 1)], [(1, 1), (1, 1), (1, 1)]])
def test_widths_that_cannot_be(widths):
    with pytest.raises(owl.OwlValueError, match=r"\[pad\] a pair of widths"):
        owl.pad(owl.zeros([2, 3]), widths)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "arguments", [(5,), (0,), (-3,), (2, 9), (9, 2), (9, 2, -2), (0, 1, 0.1), (1, 2, 0.25), (-1.5, 7, 3), (0, 1e5, 1)]
)
def test_arange(arguments, dtype):
    found = owl.arange(*arguments, dtype=dtype)
    expected = np.arange(*arguments, dtype=np.float64)
    assert found.shape == list(expected.shape)
    agree(found, expected, dtype, ulps=1, scale=2)


@pytest.mark.parametrize("arguments", [(0, 1, 0), (0, np.inf), (np.nan,), (0, 1, np.nan)])
def test_no_numbers_in_between(arguments):
    with pytest.raises(owl.OwlValueError, match=r"\[arange\] there are no numbers"):
        owl.arange(*arguments)


def test_arange_takes_numbers_alone():
    with pytest.raises(owl.DTypeError, match=r"\[arange\] a number is wanted"):
        owl.arange("3")
    with pytest.raises(owl.ShapeError, match="more than"):
        owl.arange(1e30)
