"""Pooling against plain loops in float64, and Caffe's rounding."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from agreement import DTYPES, same_bits
from convolution_reference import Pooling
from hypothesis import assume, given

import owl
import owl.conv as conv


@st.composite
def poolings(draw: st.DrawFn) -> tuple[Pooling, tuple[int, ...]]:
    """A pooling and the shape of its data."""
    window = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    pad = tuple(draw(st.integers(0, min(3, k - 1))) for k in window)
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    if draw(st.booleans()):  # the common ones, which have loops of their own
        k = draw(st.sampled_from([2, 3]))
        window, stride, pad = (k, k), (k, k), (0, 0)
    op = draw(st.sampled_from([conv.pool_op.max, conv.pool_op.avg]))
    size = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    assume(all(k <= n + 2 * p for k, n, p in zip(window, size, pad)))
    return Pooling(window, stride, pad, op), (draw(st.integers(1, 9)), draw(st.integers(1, 40)), *size)


@pytest.mark.parametrize("dtype", DTYPES)
@given(poolings(), st.integers(0, 1000))
def test_both_directions_are_those_of_the_definition(dtype, drawn, seed):
    p, shape = drawn
    rng = np.random.default_rng(seed)
    x = rng.integers(-6, 7, shape).astype(float)  # with many ties
    expected = p.forward(x)
    g = rng.standard_normal(expected.shape).astype(dtype)
    pooler = p.pooler()
    data = owl.from_numpy(x, dtype)
    y = pooler.ff(data)
    tolerance = 16 * np.finfo(dtype).eps
    np.testing.assert_allclose(y.to_numpy(), expected, rtol=tolerance, atol=tolerance)
    found = pooler.bp(owl.from_numpy(g, dtype), y, data).to_numpy()
    np.testing.assert_allclose(found, p.gradient(g.astype(float), x), rtol=0, atol=tolerance * 36)


@pytest.mark.parametrize(
    ("n", "window", "stride", "pad", "windows"),
    [
        (4, 2, 2, 0, 2),
        (5, 2, 2, 0, 3),  # rounded up: the last window is clipped
        (6, 3, 2, 0, 3),
        (7, 3, 2, 0, 3),
        (8, 3, 2, 0, 4),
        (4, 2, 3, 0, 2),
        (4, 1, 3, 0, 2),
        (5, 1, 3, 0, 2),  # a third window would begin beyond the data
        (2, 2, 2, 1, 2),
        (3, 2, 3, 1, 2),
        (1, 2, 2, 1, 1),  # likewise
        (6, 3, 3, 1, 3),
        (5, 3, 4, 1, 2),
    ],
)
def test_sizes_round_up_as_caffe_does(n, window, stride, pad, windows):
    pooler = conv.Pooler(window, window, stride, stride, pad, pad)
    assert pooler.ff(owl.zeros([n, n, 1, 1])).shape[:2] == [windows, windows]


def test_the_last_window_is_clipped():
    x = np.arange(25.0).reshape(1, 1, 5, 5)
    pooler = conv.Pooler(2, 2, 2, 2)
    np.testing.assert_array_equal(
        pooler.ff(owl.from_numpy(x)).to_numpy()[0, 0], [[6, 8, 9], [16, 18, 19], [21, 23, 24]]
    )
    mean = conv.Pooler(2, 2, 2, 2, op=conv.pool_op.avg)
    # What lies beyond the border counts as zeros.
    np.testing.assert_array_equal(mean.ff(owl.from_numpy(x)).to_numpy()[0, 0, 2], [10.25, 11.25, 6])


def test_padding_counts_in_the_mean_but_never_is_the_maximum():
    x = owl.ones([2, 2, 1, 1]) * -1
    for op, expected in ((conv.pool_op.avg, -0.25), (conv.pool_op.max, -1)):
        np.testing.assert_array_equal(
            conv.Pooler(2, 2, 2, 2, 1, 1, op).ff(x).to_numpy(), np.full((1, 1, 2, 2), expected)
        )


@pytest.mark.parametrize("window", [2, 3, 5, 17])  # 17: its positions fill more than a byte
def test_ties_go_to_the_first(window):
    x = owl.ones([2 * window, window, 3, 2])
    pooler = conv.Pooler(window, window, window, window)
    y = pooler.ff(x)
    found = pooler.bp(owl.ones(y.shape) * 7, y, x).to_numpy()
    expected = np.zeros((2, 3, window, 2 * window))
    expected[:, :, 0, [0, window]] = 7
    np.testing.assert_array_equal(found, expected)


def test_overlapping_windows_add_up():
    x = np.zeros((1, 1, 3, 3))
    x[0, 0, 1, 1] = 1
    pooler = conv.Pooler(2, 2, 1, 1)
    data = owl.from_numpy(x)
    y = pooler.ff(data)
    np.testing.assert_array_equal(pooler.bp(owl.ones([2, 2, 1, 1]), y, data).to_numpy(), 4 * x)


def test_nan_is_the_greatest():
    x = np.zeros((1, 1, 2, 4))
    x[0, 0, 1, 2] = np.nan
    y = conv.Pooler(2, 2, 2, 2).ff(owl.from_numpy(x)).to_numpy()
    assert y[0, 0, 0, 0] == 0
    assert np.isnan(y[0, 0, 0, 1])


def test_height_comes_first():
    assert conv.Pooler(4, 2, 2, 1).ff(owl.zeros([10, 20, 1, 1])).shape == [9, 9, 1, 1]


def test_older_scripts_give_the_kind_as_fifth_argument():
    x = owl.randn([4, 4, 2, 2])
    mean = conv.Pooler(2, 2, 2, 2, conv.pool_op.avg)
    same_bits(mean.ff(x).to_numpy(), conv.Pooler(2, 2, 2, 2, 0, 0, conv.pool_op.average).ff(x).to_numpy())


def test_static_functions_are_the_classes():
    info = conv.PoolingInfo()
    info.height, info.width, info.stride_vertical, info.stride_horizontal = 3, 2, 2, 1
    info.pad_height, info.algorithm = 1, conv.pool_op.avg
    pooler = conv.Pooler(3, 2, 2, 1, 1, 0, conv.pool_op.avg)
    x = owl.randn([6, 7, 3, 2])
    y = pooler.ff(x)
    same_bits(owl.NArray.pooling_forward(x, info).to_numpy(), y.to_numpy())
    same_bits(owl.NArray.pooling_backward(y, y, x, info).to_numpy(), pooler.bp(y, y, x).to_numpy())
    with pytest.raises(TypeError, match=r"an owl\.conv\.PoolingInfo"):
        owl.NArray.pooling_forward(x, conv.ConvInfo())


def test_what_cannot_be_is_refused():
    with pytest.raises(owl.ShapeError, match=r"^\[Pooler\.ff\] a window of 3x3 does not fit into images of 2x2"):
        conv.Pooler(3, 3, 1, 1).ff(owl.zeros([2, 2, 1, 1]))
    with pytest.raises(ValueError, match=r"^\[Pooler\] the padding of a pooling is smaller than its window"):
        conv.Pooler(2, 2, 2, 2, 2, 0)
    with pytest.raises(ValueError, match=r"^\[Pooler\] h cannot be 0"):
        conv.Pooler(0, 2, 2, 2)
    with pytest.raises(ValueError, match=r"pool_op\.max or pool_op\.avg"):
        conv.Pooler(2, 2, 2, 2, op=7)
    pooler, x = conv.Pooler(2, 2, 2, 2), owl.zeros([4, 4, 1, 1])
    with pytest.raises(owl.ShapeError, match=r"^\[Pooler\.bp\] the gradient has shape"):
        pooler.bp(owl.zeros([4, 4, 1, 1]), pooler.ff(x), x)
