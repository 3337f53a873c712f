"""Local response normalization, and the gradient of softmax, against float64."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from agreement import DTYPES
from convolution_reference import normalization
from hypothesis import given
from scipy import linalg, ndimage

import owl
import owl.conv as conv
from owl.testing import softmax_oracle


@st.composite
def normalizations(draw: st.DrawFn) -> tuple[int, float, float, tuple[int, ...]]:
    """Local size, alpha, beta and the shape of the data; the size may pass the number of channels."""
    local_size = 2 * draw(st.integers(0, 6)) + 1
    alpha, beta = draw(st.floats(0, 4)), draw(st.floats(0, 2))
    height = draw(st.integers(1, 20))
    # Blocks of 256 pixels, with one more or one less.
    width = draw(st.integers(1, 20)) if draw(st.booleans()) else 256 // height + draw(st.integers(-1, 1)) or 1
    return local_size, alpha, beta, (draw(st.integers(1, 3)), draw(st.integers(1, 40)), height, width)


@pytest.mark.parametrize("dtype", DTYPES)
@given(normalizations(), st.sampled_from([0.1, 1.0, 30.0]), st.integers(0, 1000))
def test_both_directions_are_those_of_the_jacobian(dtype, drawn, size, seed):
    """The matrix of all derivatives of a pixel's channels, which no pass over channels ever makes."""
    local_size, alpha, beta, shape = drawn
    rng = np.random.default_rng(seed)
    x, g = ((rng.standard_normal(shape) * s).astype(dtype).astype(float) for s in (size, 1))
    near = ndimage.convolve1d(x * x, np.ones(local_size), axis=1, mode="constant")
    scale = 1 + alpha / local_size * near
    expected = x * scale**-beta

    channels = shape[1]
    band = linalg.toeplitz((np.arange(channels) <= local_size // 2).astype(float))
    by_pixel = [a.transpose(0, 2, 3, 1) for a in (x, g, scale)]
    data, gradient, s = by_pixel
    direct = np.eye(channels) * (s**-beta)[..., None]  # [..., result, channel]
    outer = (data * s ** (-beta - 1))[..., None] * band * data[..., None, :]
    indirect = 2 * alpha * beta / local_size * outer
    back = lambda jacobian, by: (jacobian.swapaxes(-1, -2) @ by[..., None])[..., 0]  # noqa: E731
    slope = back(direct - indirect, gradient).transpose(0, 3, 1, 2)
    absolute = back(direct + abs(indirect), abs(gradient)).transpose(0, 3, 1, 2)

    lrner = conv.Lrner(local_size, alpha, beta)
    owl_x, kept = owl.from_numpy(x, dtype), owl.zeros(shape[::-1], dtype)
    y = lrner.ff(owl_x, kept)
    tolerance = 64 * np.finfo(dtype).eps
    np.testing.assert_allclose(kept.to_numpy(), scale, rtol=tolerance)
    np.testing.assert_allclose(y.to_numpy(), expected, rtol=tolerance)
    found = lrner.bp(owl_x, y, kept, owl.from_numpy(g, dtype)).to_numpy()
    assert np.all(np.abs(found - slope) <= tolerance * absolute)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("local_size", "shape"), [(1, (2, 3, 4, 5)), (5, (3, 17, 6, 7)), (7, (2, 4, 1, 33)), (3, (1, 40, 20, 20))]
)
def test_it_follows_its_definition(dtype, local_size, shape, rng):
    x = rng.standard_normal(shape)
    expected, scale = normalization(x, local_size, 0.3, 0.75)
    lrner = conv.Lrner(local_size, 0.3, 0.75)
    kept = owl.zeros(shape[::-1], dtype)
    y = lrner.ff(owl.from_numpy(x, dtype), kept)
    tolerance = 64 * np.finfo(dtype).eps
    np.testing.assert_allclose(y.to_numpy(), expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(kept.to_numpy(), scale, rtol=tolerance)
    np.testing.assert_array_equal(lrner.ff(owl.from_numpy(x, dtype)).to_numpy(), y.to_numpy())


def test_its_gradient_is_the_slope(rng):
    x, g = rng.standard_normal((2, 9, 3, 4)), rng.standard_normal((2, 9, 3, 4))
    lrner = conv.Lrner(5, 0.4, 0.6)
    data, scale = owl.from_numpy(x, np.float64), owl.zeros([4, 3, 9, 2], np.float64)
    y = lrner.ff(data, scale)
    found = lrner.bp(data, y, scale, owl.from_numpy(g, np.float64)).to_numpy()
    for _ in range(20):
        place = tuple(rng.integers(size) for size in x.shape)
        step = np.zeros_like(x)
        step[place] = 1e-6
        up, down = (normalization(x + sign * step, 5, 0.4, 0.6)[0] for sign in (1, -1))
        assert found[place] == pytest.approx(((up - down) * g).sum() / 2e-6, rel=1e-5, abs=1e-8)


def test_every_name_of_scale_sees_it():
    x, scale = owl.ones([2, 2, 3, 1]), owl.zeros([2, 2, 3, 1])
    other = scale
    before = scale + 0
    owl.NArray.lrn_forward(x, scale, 3, 3.0, 0.5)
    np.testing.assert_array_equal(other.to_numpy()[0, :, 0, 0], [3, 4, 3])
    assert before.count_zero() == 12


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"^\[Lrner\] local_size is odd, not 4"):
        conv.Lrner(4, 1, 1)
    with pytest.raises(owl.ShapeError, match=r"^\[Lrner\.ff\] scale has shape"):
        conv.Lrner(3, 1, 1).ff(owl.zeros([2, 2, 3, 1]), owl.zeros([2, 2, 3, 2]))
    x = owl.zeros([2, 2, 3, 1])
    with pytest.raises(owl.ShapeError, match=r"^\[Lrner\.bp\] data, result, scale and gradient have one shape"):
        conv.Lrner(3, 1, 1).bp(x, x, x, owl.zeros([1, 2, 3, 1]))


@pytest.mark.parametrize("mode", conv.soft_op)
@pytest.mark.parametrize("shape", [(4, 7), (3, 5, 2, 6)])
def test_the_gradient_of_softmax_is_its_slope(mode, shape, rng):
    x, g = rng.standard_normal(shape), rng.standard_normal(shape)
    top = owl.NArray.softmax_forward(owl.from_numpy(x, np.float64), mode)
    found = owl.NArray.softmax_backward(owl.from_numpy(g, np.float64), top, mode).to_numpy()
    for _ in range(10):
        place = tuple(rng.integers(size) for size in shape)
        step = np.zeros_like(x)
        step[place] = 1e-6
        slope = ((softmax_oracle(x + step, int(mode)) - softmax_oracle(x - step, int(mode))) * g).sum() / 2e-6
        assert found[place] == pytest.approx(slope, rel=1e-5, abs=1e-9)
