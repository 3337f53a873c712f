"""Reductions, argmax, count_zero and softmax against NumPy in float64."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from agreement import DTYPES, agree, array, shapes, values, wide
from hypothesis import given

import owl
from owl.conv import soft_op
from owl.testing import softmax_oracle

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(DTYPES)


@st.composite
def shape_and_axes(draw: st.DrawFn, empty: bool = True) -> tuple[list[int], object]:
    shape = draw(shapes(min_dims=1, empty=empty))
    axes = draw(
        st.one_of(
            st.none(),
            st.integers(-len(shape), len(shape) - 1),
            st.lists(st.integers(0, len(shape) - 1), unique=True),
        )
    )
    return shape, axes


def numpy_axes(shape: list[int], axes: object) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(len(shape)))
    listed = axes if isinstance(axes, list) else [axes]
    return tuple(len(shape) - 1 - axis % len(shape) for axis in listed)


@given(where=shape_and_axes(), seed=seeds, dtype=dtypes)
def test_sum(where, seed, dtype):
    shape, axes = where
    x = values(np.random.default_rng(seed), shape, dtype)
    expected = wide(x).sum(axis=numpy_axes(shape, axes), keepdims=True)
    agree(array(x).sum(axes), expected, dtype, terms=max(1, x.size), scale=3 * max(1, x.size) ** 0.5)


@given(where=shape_and_axes(empty=False), seed=seeds, dtype=dtypes)
def test_mean(where, seed, dtype):
    shape, axes = where
    x = values(np.random.default_rng(seed), shape, dtype)
    expected = wide(x).mean(axis=numpy_axes(shape, axes), keepdims=True)
    agree(array(x).mean(axes), expected, dtype, terms=x.size, scale=3)


@pytest.mark.parametrize("name", ["max", "min"])
@given(where=shape_and_axes(empty=False), seed=seeds, dtype=dtypes, missing=st.booleans())
def test_max_and_min(name, where, seed, dtype, missing):
    shape, axes = where
    rng = np.random.default_rng(seed)
    x = values(rng, shape, dtype)
    if missing:
        x[rng.random(x.shape) < 0.05] = np.nan
    found = getattr(array(x), name)(axes).to_numpy()
    np.testing.assert_array_equal(found, getattr(np, name)(x, axis=numpy_axes(shape, axes), keepdims=True))


@given(shape=shapes(min_dims=1, empty=False), seed=seeds, dtype=dtypes, data=st.data())
def test_argmax_takes_the_first_of_equals_and_nan_as_largest(shape, seed, dtype, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, shape[::-1]).astype(dtype)
    if data.draw(st.booleans()):
        x[rng.random(x.shape) < 0.1] = np.nan
    expected = np.argmax(x, axis=len(shape) - 1 - axis, keepdims=True)
    for name in ("argmax", "max_index"):
        found = getattr(array(x), name)(axis).to_numpy()
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [[1000, 3], [3, 1000], [40, 3, 50], [1, 5000], [5000, 1], [2, 2, 2, 2, 2, 2, 2, 2]])
@pytest.mark.parametrize("dtype", DTYPES)
def test_long_and_wide_reductions(shape, dtype, rng):
    x = values(rng, shape, dtype)
    for axis in range(len(shape)):
        along = len(shape) - 1 - axis
        agree(
            array(x).sum(axis),
            wide(x).sum(along, keepdims=True),
            dtype,
            terms=shape[axis],
            scale=3 * shape[axis] ** 0.5,
        )
        np.testing.assert_array_equal(array(x).max(axis).to_numpy(), x.max(along, keepdims=True))
        np.testing.assert_array_equal(array(x).argmax(axis).to_numpy(), x.argmax(along, keepdims=True))


def test_a_sum_of_many_equal_numbers_keeps_its_accuracy():
    assert float(owl.full([10_000_000], 0.1).sum()) == pytest.approx(1e6, rel=1e-6)


@given(shape=shapes(), seed=seeds, dtype=dtypes)
def test_count_zero(shape, seed, dtype):
    x = np.random.default_rng(seed).integers(-1, 2, shape[::-1]).astype(dtype) * dtype(-1)
    found = array(x).count_zero()
    assert type(found) is int
    assert found == np.sum(x == 0)


@pytest.mark.parametrize("mode", list(soft_op))
@given(shape=shapes(min_dims=2, max_dims=5), seed=seeds, dtype=dtypes)
def test_softmax(mode, shape, seed, dtype):
    x = values(np.random.default_rng(seed), shape, dtype, -20, 20)
    agree(owl.conv.softmax(array(x), mode), softmax_oracle(wide(x), mode), dtype, ulps=16, scale=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [[10, 256], [1000, 3], [1, 7], [4, 5, 10, 6]])
def test_softmax_sums_to_one_and_bears_large_numbers(shape, dtype, rng):
    x = values(rng, shape, dtype) * dtype(1000)
    found = owl.conv.softmax(array(x)).to_numpy()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.reshape(shape[-1], -1).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(found, softmax_oracle(wide(x)), rtol=1e-4, atol=1e-7)


def test_softmax_is_over_instances_by_default(rng):
    x = array(values(rng, [3, 4, 5]))
    np.testing.assert_array_equal(owl.conv.softmax(x).to_numpy(), owl.conv.softmax(x, soft_op.instance).to_numpy())


def test_reduced_dimensions_remain(rng):
    x = array(values(rng, [3, 4, 5]))
    assert x.sum([0, 2]).shape == [1, 4, 1]
    assert x.sum().shape == [1, 1, 1]
    assert x.sum(-1).shape == [3, 4, 1]
    assert math.prod(x.max().shape) == 1


def test_a_sum_over_nothing_is_zero():
    np.testing.assert_array_equal(owl.zeros([3, 0]).sum(1).to_numpy(), np.zeros((1, 3), np.float32))
