"""Convolutions in groups against a convolution for each group: not a bit differs, whatever kernel computes them."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from agreement import DTYPES, same_bits
from convolution_reference import Convolution
from hypothesis import assume, given
from test_isa import available

import owl
import owl.conv as conv
import owl.elewise as ele
from owl import _runtime


@pytest.fixture(autouse=True)
def by_definition():
    """Winograd's algorithm is chosen by a group's channels, which would be right, but not the same bits."""
    was = _runtime.set_winograd(False)
    yield
    _runtime.set_winograd(was)


Shapes = tuple[tuple[int, ...], tuple[int, ...]]


@st.composite
def grouped(draw: st.DrawFn) -> tuple[Convolution, Shapes, int]:
    """A convolution, the shapes of data and filters, a seed; groups of every size around what a vector holds."""
    pair = lambda low, high: draw(st.tuples(st.integers(low, high), st.integers(low, high)))  # noqa: E731
    groups = draw(st.integers(2, 37))
    inputs, outputs = draw(
        st.one_of(
            st.just((1, 1)),
            st.sampled_from([(2, 2), (4, 4), (8, 8), (1, 2), (1, 4), (2, 4), (4, 1), (3, 4)]),
            st.tuples(st.integers(1, 9), st.integers(1, 9)),
        )
    )
    c = Convolution(pair(0, 4), pair(1, 4), pair(1, 3), groups)
    size, kernel = pair(1, 18), pair(1, 7)
    rows, columns = c.result(size, kernel)
    assume(rows >= 1 and columns >= 1)
    batch = draw(st.integers(1, 18))
    assume(batch * groups * inputs * outputs * rows * columns * kernel[0] * kernel[1] < 2_000_000)
    return c, ((batch, groups * inputs, *size), (groups * outputs, inputs, *kernel)), draw(st.integers(0, 1000))


def parts(x: np.ndarray, groups: int, axis: int) -> list[owl.NArray]:
    return [owl.from_numpy(part, x.dtype) for part in np.split(x, groups, axis)]


def joined(arrays: list[owl.NArray], axis: int) -> np.ndarray:
    return np.concatenate([array.to_numpy() for array in arrays], axis)


@pytest.mark.parametrize("dtype", DTYPES)
@given(grouped())
def test_groups_are_convolutions_of_their_own(dtype, drawn):
    c, (x_shape, w_shape), seed = drawn
    rng = np.random.default_rng(seed)
    x, w, b = (rng.standard_normal(shape).astype(dtype) for shape in (x_shape, w_shape, w_shape[0]))
    g = rng.standard_normal((x_shape[0], w_shape[0], *c.result(x_shape[2:], w_shape[2:]))).astype(dtype)
    whole = c.convolver()
    data, filters, bias, gradient = (owl.from_numpy(a, dtype) for a in (x, w, b, g))
    one = Convolution(c.pad, c.stride, c.dilation).convolver()
    each = list(zip(*(parts(a, c.groups, axis) for a, axis in ((x, 1), (w, 0), (b, 0), (g, 1)))))
    same_bits(whole.ff(data, filters, bias).to_numpy(), joined([one.ff(X, W, B) for X, W, B, _ in each], 1))
    same_bits(whole.bp(gradient, data, filters).to_numpy(), joined([one.bp(G, X, W) for X, W, _, G in each], 1))
    found, found_bias = whole.weight_grad(gradient, data, filters), whole.bias_grad(gradient)  # in one pass
    same_bits(found.to_numpy(), joined([one.weight_grad(G, X, W) for X, W, _, G in each], 0))
    same_bits(found_bias.to_numpy(), joined([one.bias_grad(G) for *_, G in each], 0))


@pytest.mark.parametrize("op", [conv.pool_op.max, conv.pool_op.avg])
@pytest.mark.parametrize(("per_group", "groups"), [((1, 1), 19), ((4, 4), 7), ((1, 2), 11), ((2, 1), 11)])
def test_fused_with_relu_and_pooling(op, per_group, groups, rng):
    inputs, outputs = per_group
    pooler = conv.Pooler(3, 3, 2, 2, 1, 0, op=op)

    def step(convolver: conv.Convolver, x: owl.NArray, w: owl.NArray, b: owl.NArray, g: owl.NArray) -> list[owl.NArray]:
        a = ele.relu(convolver.ff(x, w, b))
        p = pooler.ff(a)
        s = ele.relu_back(pooler.bp(g, p, a), a)
        return [p, convolver.bp(s, x, w), convolver.weight_grad(s, x, w), convolver.bias_grad(s)]

    x = rng.standard_normal((5, groups * inputs, 13, 12)).astype(np.float32)
    w = rng.standard_normal((groups * outputs, inputs, 3, 3)).astype(np.float32)
    b = rng.standard_normal(groups * outputs).astype(np.float32)
    whole, one = conv.Convolver(1, 1, 1, 1, groups=groups), conv.Convolver(1, 1, 1, 1)
    g = rng.standard_normal(pooler.ff(whole.ff(owl.from_numpy(x), owl.from_numpy(w))).to_numpy().shape)
    found = step(whole, *(owl.from_numpy(a) for a in (x, w, b, g)))
    each = zip(*(parts(a.astype(np.float32), groups, axis) for a, axis in ((x, 1), (w, 0), (b, 0), (g, 1))))
    expected = zip(*(step(one, *arrays) for arrays in each))
    for array, arrays, axis in zip(found, expected, (1, 1, 0, 0)):
        same_bits(array.to_numpy(), joined(list(arrays), axis))


SWEEP = """
import sys
sys.path[:0] = sys.argv[2:]
import numpy as np
import owl
from convolution_reference import Convolution
rng = np.random.default_rng(3)
for dtype in (np.float32, np.float64):
    for groups, inputs, outputs in ((40, 1, 1), (9, 2, 2), (5, 4, 4), (7, 1, 4), (6, 3, 4), (6, 4, 2), (3, 8, 8)):
        for c, kernel in (
            (Convolution((1, 1), groups=groups), (3, 3)),
            (Convolution((2, 0), (2, 1), groups=groups), (5, 4)),
            (Convolution((3, 1), (3, 2), (1, 2), groups), (4, 3)),
        ):
            x = rng.standard_normal((3, groups * inputs, 11, 13))
            w = rng.standard_normal((groups * outputs, inputs, *kernel))
            y = c.forward(x, w)
            g = rng.standard_normal(y.shape)
            X, W, G = (owl.from_numpy(a, dtype) for a in (x, w, g))
            v = c.convolver()
            for found, expected in (
                (v.ff(X, W), y),
                (v.bp(G, X, W), c.data_gradient(g, x, w)),
                (v.weight_grad(G, X, W), c.filter_gradient(g, x, w)),
            ):
                error = np.abs(found.to_numpy() - expected).max() / np.abs(expected).max()
                assert error < 200 * np.finfo(dtype).eps, (c, dtype, error)
assert owl._runtime.isa() == sys.argv[1]
"""


@pytest.mark.long
@pytest.mark.parametrize("isa", available())
def test_every_instruction_set_convolves_groups(isa, python, request):
    done = python(SWEEP, isa, str(request.path.parent.parent), OWL_ISA=isa)
    assert done.returncode == 0, done.stderr[-2000:]
