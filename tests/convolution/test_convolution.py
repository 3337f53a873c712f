"""Convolution in all its directions against scipy.signal in float64."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from agreement import DTYPES, same_bits
from convolution_reference import Convolution
from hypothesis import assume, given

import owl
import owl.conv as conv
from owl.testing import unfused

MOST_PRODUCTS = 5_000_000  # of one example


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Convolution, tuple[int, ...], tuple[int, ...]]:
    """A convolution with the shapes of data and filters."""
    pair = lambda low, high: draw(st.tuples(st.integers(low, high), st.integers(low, high)))  # noqa: E731
    plain = draw(st.booleans())
    groups = 1 if plain else draw(st.sampled_from([1, 1, 2, 3]))
    c = Convolution(pair(0, 5), (1, 1) if plain else pair(1, 4), (1, 1) if plain else pair(1, 3), groups)
    size = pair(1, 20)
    kernel = draw(st.sampled_from([(3, 3), (5, 5)])) if plain and draw(st.booleans()) else pair(1, 11)
    channels, filters = (groups * draw(st.integers(1, 40 // groups)) for _ in range(2))
    batch = draw(st.integers(1, 9))
    rows, columns = c.result(size, kernel)
    assume(rows >= 1 and columns >= 1)
    assume(rows * columns * math.prod(kernel) * channels * filters * batch <= MOST_PRODUCTS)
    return c, (batch, channels, *size), (filters, channels // groups, *kernel)


def close(found: owl.NArray, expected: np.ndarray, absolute: np.ndarray, terms: int, winograd: bool) -> None:
    """The error is within bounds of the greatest sum of absolute products."""
    value = found.to_numpy()
    assert value.shape == expected.shape
    epsilon = np.finfo(value.dtype).eps
    bound = epsilon * (256 if winograd else 4 + 2 * math.sqrt(terms))
    assert np.abs(value - expected).max() <= bound * absolute.max()


@pytest.mark.parametrize("dtype", DTYPES)
@given(convolutions(), st.integers(0, 1000))
def test_every_direction_is_scipys(dtype, drawn, seed):
    c, x_shape, w_shape = drawn
    rng = np.random.default_rng(seed)
    x, w, b = (rng.standard_normal(shape).astype(dtype).astype(float) for shape in (x_shape, w_shape, w_shape[0]))
    expected = c.forward(x, w)
    g = rng.standard_normal(expected.shape).astype(dtype).astype(float)
    owl_x, owl_w, owl_b, owl_g = (owl.from_numpy(a, dtype) for a in (x, w, b, g))
    convolver = c.convolver()
    y = convolver.ff(owl_x, owl_w, owl_b)
    winograd = dtype == np.float32 and w_shape[2:] in ((3, 3), (5, 5))
    per_result = math.prod(w_shape[1:])
    bias = b[:, None, None]
    close(y, expected + bias, c.forward(abs(x), abs(w)) + abs(bias), per_result + 1, winograd)
    data, filters = convolver.bp(owl_g, owl_x, owl_w), convolver.weight_grad(owl_g, owl_x, owl_w)
    per_pixel = math.prod(w_shape) // c.groups // w_shape[1]
    close(data, c.data_gradient(g, x, w), c.data_gradient(abs(g), x, abs(w)), per_pixel, winograd)
    per_filter = g.size // g.shape[1]
    close(filters, c.filter_gradient(g, x, w), c.filter_gradient(abs(g), abs(x), w), per_filter, winograd)
    close(convolver.bias_grad(owl_g), g.sum((0, 2, 3)), abs(g).sum((0, 2, 3)), per_filter, False)

    # <conv(x), g> = <x, bp(g)> = <w, weight_grad(g)>
    forward = ((y.to_numpy().astype(float) - bias) * g).sum()
    size = (c.forward(abs(x), abs(w)) * abs(g)).sum()
    for gradient, of in ((data, x), (filters, w)):
        assert abs((gradient.to_numpy().astype(float) * of).sum() - forward) <= 256 * np.finfo(dtype).eps * size


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [1, 3])
def test_gradients_are_sums_over_many_pixels(groups, dtype, rng):
    c = Convolution((1, 0), (1, 2), groups=groups)
    x, w = rng.standard_normal((7, 6, 50, 60)), rng.standard_normal((9, 6 // groups, 4, 2))
    g = rng.standard_normal(c.forward(x, w).shape)
    x, g = (a.astype(dtype).astype(float) for a in (x, g))
    owl_x, owl_g = owl.from_numpy(x, dtype), owl.from_numpy(g, dtype)
    pixels = g.size // g.shape[1]
    found = c.convolver().weight_grad(owl_g, owl_x, owl.zeros(w.shape[::-1]))
    close(found, c.filter_gradient(g, x, w), c.filter_gradient(abs(g), abs(x), w), pixels, False)
    close(c.convolver().bias_grad(owl_g), g.sum((0, 2, 3)), abs(g).sum((0, 2, 3)), pixels, False)


def test_the_filter_is_flipped():
    x = np.zeros((1, 1, 5, 5))
    x[0, 0, 2, 2] = 1
    w = np.arange(9.0).reshape(1, 1, 3, 3)
    # A single bright pixel shows the filter itself: the kernel of a correlation would come out turned round.
    found = conv.Convolver(0, 0, 1, 1).ff(owl.from_numpy(x), owl.from_numpy(w), owl.zeros([1]))
    np.testing.assert_array_equal(found.to_numpy()[0, 0], w[0, 0])


def test_the_order_of_arguments_is_vertical_first():
    convolver = conv.Convolver(pad_h=2, pad_w=0, stride_v=3, stride_h=1)
    assert convolver.ff(owl.zeros([10, 20, 1, 1]), owl.zeros([4, 3, 1, 1]), owl.zeros([1])).shape == [7, 8, 1, 1]


def test_shapes_that_can_be_told_may_be_left_out(rng):
    convolver = conv.Convolver(1, 2, 1, 1, groups=2)
    x, w = owl.randn([9, 7, 4, 3]), owl.randn([3, 5, 2, 6])
    y = convolver.ff(x, w)
    same_bits(convolver.bp(y, w).to_numpy(), convolver.bp(y, x, w).to_numpy())
    same_bits(convolver.weight_grad(y, x).to_numpy(), convolver.weight_grad(y, x, w).to_numpy())


def test_a_missing_bias_is_no_bias():
    convolver = conv.Convolver(1, 1, 1, 1)
    x, w = owl.randn([6, 6, 3, 2]), owl.randn([3, 3, 3, 5])
    same_bits(convolver.ff(x, w).to_numpy(), convolver.ff(x, w, owl.zeros([5])).to_numpy())


@pytest.mark.parametrize("size", [(0, 30), (30, 0)])
def test_an_empty_image_may_have_padding_enough_for_a_filter(size):
    # Once, its gradient, for which Winograd's algorithm has no tiles, divided by their number.
    convolver = conv.Convolver(4, 4, 1, 1)
    x, w = owl.zeros([*size, 16, 2]), owl.ones([5, 5, 16, 16])
    y = convolver.ff(x, w)
    assert not y.to_numpy().any()
    assert convolver.bp(y, x, w).to_numpy().size == 0
    assert not convolver.weight_grad(y, x, w).to_numpy().any()


def test_an_empty_batch_is_convolved():
    convolver = conv.Convolver(2, 2, 1, 1)
    x, w, b = owl.zeros([8, 8, 3, 0]), owl.ones([5, 5, 3, 4]), owl.ones([4])
    y = convolver.ff(x, w, b)
    assert y.to_numpy().shape == (0, 4, 8, 8)
    assert convolver.bp(y, x, w).to_numpy().shape == (0, 3, 8, 8)
    assert not convolver.weight_grad(y, x, w).to_numpy().any()
    assert not convolver.bias_grad(y).to_numpy().any()


def test_mixed_dtypes_give_float64():
    y = conv.Convolver(0, 0, 1, 1).ff(owl.ones([3, 3, 1, 1]), owl.ones([2, 2, 1, 1], np.float64), owl.ones([1]))
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y.to_numpy(), np.full((1, 1, 2, 2), 5.0))


def test_bits_do_not_depend_on_threads():
    convolver = conv.Convolver(2, 2, 1, 1)
    x, w, b = owl.randn([12, 12, 16, 21]), owl.randn([5, 5, 16, 32]), owl.randn([32])

    def run() -> list[np.ndarray]:
        y = convolver.ff(x, w, b)
        results = [y, convolver.bp(y, x, w), convolver.weight_grad(y, x, w), convolver.bias_grad(y)]
        return [result.to_numpy() for result in results]

    was = owl.get_num_threads()
    expected = run()
    try:
        for threads in (1, 3):
            owl.set_num_threads(threads)
            for left, right in zip(run(), expected):
                same_bits(left, right)
    finally:
        owl.set_num_threads(was)
    with unfused():
        for left, right in zip(run(), expected):
            same_bits(left, right)


def test_a_gradient_of_the_bias_is_the_same_alone():
    y = owl.randn([7, 9, 20, 37])
    convolver = conv.Convolver(1, 1, 1, 1)
    x, w = owl.randn([7, 9, 3, 37]), owl.randn([3, 3, 3, 20])
    alone = convolver.bias_grad(y).to_numpy()
    filters, bias = convolver.weight_grad(y, x, w), convolver.bias_grad(y)
    filters.start_eval()
    same_bits(bias.to_numpy(), alone)


# what is refused, at the line that wrote it

DATA, FILTERS, BIAS = [8, 6, 3, 2], [3, 3, 3, 4], [4]


def call(pad: int = 0, data: list[int] = DATA, filters: list[int] = FILTERS, bias: list[int] = BIAS, **extra: int):
    return conv.Convolver(pad, pad, 1, 1, **extra).ff(owl.zeros(data), owl.zeros(filters), owl.zeros(bias))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"filters": [3, 7, 3, 4]}, "a kernel of height 7 does not fit into an image of height 6 padded by 0"),
        ({"filters": [3, 3, 3, 4], "dilation_h": 4}, "a kernel of width 9 does not fit into an image of width 8"),
        ({"filters": [3, 3, 2, 4]}, "do not fit data of shape"),
        ({"groups": 3}, "in 3 groups"),
        ({"bias": [3]}, r"the bias has shape \[4\]"),
        ({"bias": [4, 1]}, r"the bias has shape \[4\]"),
        ({"data": [8, 6, 3]}, "the data has 4 dimensions"),
        ({"filters": [3, 3, 12]}, "the filter array has 4 dimensions"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, told):
    with pytest.raises(owl.ShapeError, match=r"^\[Convolver\.ff\] .*" + told):
        call(**change)


def test_a_kernel_that_padding_makes_room_for_is_not():
    assert call(pad=1, filters=[3, 8, 3, 4]).shape == [8, 1, 4, 2]


@pytest.mark.parametrize("arguments", [(-1, 0, 1, 1), (0, 0, 0, 1), (0, 0, 1, -2)])
def test_impossible_numbers_are_refused(arguments):
    with pytest.raises(ValueError, match=r"^\[Convolver\] (pad|stride)_"):
        conv.Convolver(*arguments)


def test_numbers_must_be_whole():
    with pytest.raises(TypeError, match=r"^\[Convolver\] stride_v is a whole number"):
        conv.Convolver(0, 0, 1.5, 1)


def test_a_shape_that_cannot_be_told_is_asked_for():
    convolver = conv.Convolver(0, 0, 2, 2)
    y, w = owl.zeros([3, 3, 4, 2]), owl.zeros([3, 3, 3, 4])
    with pytest.raises(owl.ShapeError, match="pass the data too"):
        convolver.bp(y, w)
    with pytest.raises(owl.ShapeError, match="pass the filters too"):
        convolver.weight_grad(y, owl.zeros([7, 7, 3, 2]))


def test_gradients_of_another_shape_are_refused():
    convolver = conv.Convolver(0, 0, 1, 1)
    with pytest.raises(
        owl.ShapeError, match=r"the gradient has shape \[5, 4, 4, 2\], the result it belongs to \[6, 4, 4, 2\]"
    ):
        convolver.bp(owl.zeros([5, 4, 4, 2]), owl.zeros(DATA), owl.zeros(FILTERS))
    with pytest.raises(owl.ShapeError, match="the gradient has shape"):
        convolver.weight_grad(owl.zeros([5, 4, 4, 2]), owl.zeros(DATA), owl.zeros(FILTERS))


def test_other_things_are_no_arrays():
    with pytest.raises(TypeError, match="the data must be an owl array, not ndarray"):
        conv.Convolver(0, 0, 1, 1).ff(np.zeros((1, 1, 3, 3)), owl.zeros(FILTERS), owl.zeros(BIAS))


# Minerva's static functions


def test_static_functions_are_the_classes():
    info = conv.ConvInfo()
    info.pad_height, info.pad_width, info.stride_vertical, info.stride_horizontal = 2, 1, 1, 2
    convolver = conv.Convolver(2, 1, 1, 2)
    x, w, b = owl.randn([9, 8, 3, 2]), owl.randn([3, 5, 3, 4]), owl.randn([4])
    y = convolver.ff(x, w, b)
    same_bits(owl.NArray.conv_forward(x, w, b, info).to_numpy(), y.to_numpy())
    same_bits(owl.NArray.conv_backward_data(y, x, w, info).to_numpy(), convolver.bp(y, x, w).to_numpy())
    same_bits(owl.NArray.conv_backward_filter(y, x, w, info).to_numpy(), convolver.weight_grad(y, x, w).to_numpy())
    same_bits(owl.NArray.conv_backward_bias(y).to_numpy(), convolver.bias_grad(y).to_numpy())
    with pytest.raises(TypeError, match=r"an owl\.conv\.ConvInfo"):
        owl.NArray.conv_forward(x, w, b, conv.PoolingInfo())
