"""Windows of zeros give zeros, exactly; numbers as large as they can be give what they must, whatever the algorithm."""

import numpy as np
import pytest

import owl
import owl.conv as conv
import owl.elewise as ele

SHAPES = [
    # Width, height, channels in and out, padding, batch: one tile and many, strips, borders, vectors of channels.
    (12, 9, 8, 8, 0, 1),
    (13, 13, 16, 24, 1, 3),
    (28, 28, 16, 32, 2, 2),
    (40, 65, 40, 16, 2, 1),
    (7, 5, 33, 9, 4, 5),
]


def convolved(x, f, pad):
    """The true convolution, in float64."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, f.shape[2:], (2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, f[:, :, ::-1, ::-1].astype(np.float64), optimize=True)


def blank_mask(rng, images, height, width):
    """Pixels that hold something: some rectangles, and single pixels."""
    mask = np.zeros((images, 1, height, width), bool)
    for image in mask[:, 0]:
        for _ in range(2):
            y, x = rng.integers(0, height), rng.integers(0, width)
            image[y : y + rng.integers(1, 5), x : x + rng.integers(1, 5)] = True
        image[rng.integers(0, height), rng.integers(0, width)] = True
    return mask


def windows_hold_something(mask, size, pad):
    padded = np.pad(mask, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3)).any((4, 5))


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize(("w", "h", "c_in", "c_out", "pad", "n"), SHAPES)
def test_a_blank_window_gives_the_bias_exactly(size, w, h, c_in, c_out, pad, n, rng):
    pad = min(pad, size - 1)
    mask = blank_mask(rng, n, h, w)
    x = (rng.standard_normal((n, c_in, h, w)) * mask).astype(np.float32)
    f = rng.standard_normal((c_out, c_in, size, size)).astype(np.float32)
    bias = rng.standard_normal(c_out).astype(np.float32)
    convolver = conv.Convolver(pad, pad, 1, 1)
    for b in (np.zeros_like(bias), bias):
        y = convolver.ff(owl.from_numpy(x), owl.from_numpy(f), owl.from_numpy(b)).to_numpy()
        blank = np.broadcast_to(~windows_hold_something(mask, size, pad), y.shape)
        assert blank.any()
        np.testing.assert_array_equal(y[blank], np.broadcast_to(b[:, None, None], y.shape)[blank])
        exact = convolved(x, f, pad) + b[:, None, None].astype(np.float64)
        np.testing.assert_allclose(y, exact, atol=3e-5 * np.abs(exact).max())


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize(("w", "h", "c_in", "c_out", "pad", "n"), SHAPES)
def test_a_blank_window_of_gradients_gives_zero_exactly(size, w, h, c_in, c_out, pad, n, rng):
    pad = min(pad, size - 1)
    out_h, out_w = h + 2 * pad - size + 1, w + 2 * pad - size + 1
    mask = blank_mask(rng, n, out_h, out_w)
    g = (rng.standard_normal((n, c_out, out_h, out_w)) * mask).astype(np.float32)
    x = rng.standard_normal((n, c_in, h, w)).astype(np.float32)
    f = rng.standard_normal((c_out, c_in, size, size)).astype(np.float32)
    convolver = conv.Convolver(pad, pad, 1, 1)
    found = convolver.bp(owl.from_numpy(g), owl.from_numpy(x), owl.from_numpy(f)).to_numpy()
    blank = np.broadcast_to(~windows_hold_something(mask, size, size - 1 - pad), found.shape)
    assert blank.any()
    assert not found[blank].any()


@pytest.mark.parametrize("size", [3, 5])
def test_relu_back_passes_nothing_where_nothing_was(size, rng):
    """Half of the rounding errors of blank windows once passed, and added up to a wrong gradient of the bias."""
    x = np.zeros((4, 16, 28, 28), np.float32)
    x[:, :, 10:18, 10:18] = rng.standard_normal((4, 16, 8, 8))
    f = rng.standard_normal((32, 16, size, size)).astype(np.float32)
    convolver = conv.Convolver(size // 2, size // 2, 1, 1)
    a = convolver.ff(owl.from_numpy(x), owl.from_numpy(f), owl.zeros([32]))
    passed = ele.relu_back(owl.ones(a.shape), a)
    pad = size // 2
    expected = convolved(x, f, pad) > 0
    assert (passed.to_numpy() != 0).sum() == expected.sum()


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("scale", [3e36, 3e37])
def test_large_numbers_do_not_overflow_before_their_result_does(size, scale, rng):
    x = rng.standard_normal((2, 8, 12, 12)).astype(np.float32)
    x[0, 3, 5, 5] = scale
    f = (rng.standard_normal((8, 8, size, size)) / 8).astype(np.float32)
    g = rng.standard_normal((2, 8, 12 - size + 1, 12 - size + 1)).astype(np.float32)
    convolver = conv.Convolver(0, 0, 1, 1)
    y = convolver.ff(owl.from_numpy(x), owl.from_numpy(f), owl.zeros([8])).to_numpy()
    exact = convolved(x, f, 0)
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y, exact, atol=3e-5 * np.abs(exact).max())
    filters = convolver.weight_grad(owl.from_numpy(g), owl.from_numpy(x), owl.from_numpy(f)).to_numpy()
    assert np.isfinite(filters).all()
    slopes = np.stack(
        [[(x[:, c, ky : ky + g.shape[2], kx : kx + g.shape[3]].astype(np.float64)[:, None] * g).sum((0, 2, 3))
          for kx in range(size)] for c in range(8) for ky in range(size)]
    ).reshape(8, size, size, 8).transpose(3, 0, 1, 2)[:, :, ::-1, ::-1]  # fmt: skip
    np.testing.assert_allclose(filters, slopes, atol=3e-5 * np.abs(slopes).max())
    g = np.zeros((2, 8, 12 - size + 1, 12 - size + 1), np.float32)
    g[1, 2, 3, 3] = scale
    back = convolver.bp(owl.from_numpy(g), owl.from_numpy(x), owl.from_numpy(f)).to_numpy()
    exact = convolved(g, f.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1], size - 1)
    assert np.isfinite(back).all()
    np.testing.assert_allclose(back, exact, atol=3e-5 * np.abs(exact).max())


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_windows(size, value, rng):
    x = rng.standard_normal((1, 8, 16, 16)).astype(np.float32)
    f = rng.standard_normal((8, 8, size, size)).astype(np.float32)
    plain = conv.Convolver(0, 0, 1, 1).ff(owl.from_numpy(x), owl.from_numpy(f), owl.zeros([8])).to_numpy()
    x[0, 3, 6, 7] = value
    y = conv.Convolver(0, 0, 1, 1).ff(owl.from_numpy(x), owl.from_numpy(f), owl.zeros([8])).to_numpy()
    inside = np.zeros(y.shape, bool)
    inside[:, :, max(0, 7 - size) : 7, max(0, 8 - size) : 8] = True
    assert not np.isfinite(y[inside]).any()
    np.testing.assert_allclose(y[~inside], plain[~inside], atol=5e-4)
