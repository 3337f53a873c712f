"""Winograd's algorithm against the direct one, and the kernels of each instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import same_bits
from convolution_reference import Convolution
from test_isa import available

import owl
from owl import _runtime

BOUND = 256 * np.finfo(np.float32).eps  # of the greatest sum of absolute products

SHAPES = [
    (3, (0, 0), (11, 14)),
    (3, (1, 1), (12, 12)),
    (3, (2, 2), (9, 20)),
    (5, (0, 0), (13, 16)),
    (5, (2, 2), (12, 12)),
]


def directions(c: Convolution, x: np.ndarray, w: np.ndarray, g: np.ndarray, winograd: bool) -> list[np.ndarray]:
    was = _runtime.set_winograd(winograd)
    try:
        data, filters, gradient = (owl.from_numpy(a) for a in (x, w, g))
        convolver = c.convolver()
        results = [
            convolver.ff(data, filters),
            convolver.bp(gradient, data, filters),
            convolver.weight_grad(gradient, data, filters),
        ]
        return [result.to_numpy() for result in results]
    finally:
        _runtime.set_winograd(was)


@pytest.mark.cpu_kernels("Winograd's algorithm")
@pytest.mark.parametrize(("kernel", "pad", "size"), SHAPES)
@pytest.mark.parametrize("spread", [1.0, 1e4])
def test_winograd_is_within_its_bound(kernel, pad, size, spread, rng):
    c = Convolution(pad)
    # Numbers of very different size in one tile are what its transforms like least.
    sizes = lambda shape: rng.standard_normal(shape) * spread ** rng.uniform(-1, 1, shape)  # noqa: E731
    x, w = sizes((3, 16, *size)).astype(np.float32), sizes((24, 16, kernel, kernel)).astype(np.float32)
    wide_x, wide_w = x.astype(float), w.astype(float)
    expected = c.forward(wide_x, wide_w)
    g = sizes(expected.shape).astype(np.float32)
    wide_g = g.astype(float)
    exact = [expected, c.data_gradient(wide_g, wide_x, wide_w), c.filter_gradient(wide_g, wide_x, wide_w)]
    absolute = [
        c.forward(abs(wide_x), abs(wide_w)),
        c.data_gradient(abs(wide_g), wide_x, abs(wide_w)),
        c.filter_gradient(abs(wide_g), abs(wide_x), wide_w),
    ]
    fast, plain = (directions(c, x, w, g, winograd) for winograd in (True, False))
    for one, other, truth, most in zip(fast, plain, exact, absolute):
        assert np.abs(one - truth).max() <= BOUND * most.max()
        assert np.abs(other - truth).max() <= BOUND / 8 * most.max()
        assert (one != other).any()  # two algorithms were at work


def test_the_variable_switches_it_off(python):
    program = """
import numpy as np
import owl, owl.conv
owl.seed(1)
x, w = owl.randn([12, 12, 16, 2]), owl.randn([5, 5, 16, 16])
print(owl.conv.Convolver(2, 2, 1, 1).ff(x, w).to_numpy().tobytes().hex())
"""
    outputs = {value: python(program, OWL_WINOGRAD=value) for value in ("0", "1", None)}
    assert all(done.returncode == 0 for done in outputs.values()), outputs
    assert outputs["1"].stdout == outputs[None].stdout
    assert outputs["0"].stdout != outputs["1"].stdout


SWEEP = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[2])
from convolution_reference import Convolution, Pooling, normalization
import owl, owl.conv as conv

rng = np.random.default_rng(3)
for dtype in (np.float32, np.float64):
    for c, x_shape, w_shape in [
        (Convolution(), (3, 1, 28, 28), (16, 1, 5, 5)),
        (Convolution((2, 2)), (2, 16, 12, 12), (32, 16, 5, 5)),
        (Convolution((1, 1)), (2, 9, 10, 7), (11, 9, 3, 3)),
        (Convolution((3, 0), (2, 3), (1, 2), 2), (3, 6, 13, 15), (10, 3, 4, 3)),
        (Convolution((0, 5), (4, 4)), (2, 3, 20, 17), (37, 3, 11, 11)),
        (Convolution(), (9, 40, 1, 1), (17, 40, 1, 1)),
    ]:
        x, w, b = (rng.standard_normal(shape) for shape in (x_shape, w_shape, w_shape[0]))
        y = c.forward(x, w)
        g = rng.standard_normal(y.shape)
        X, W, B, G = (owl.from_numpy(a, dtype) for a in (x, w, b, g))
        v = c.convolver()
        for found, expected in [
            (v.ff(X, W, B), y + b[:, None, None]),
            (v.bp(G, X, W), c.data_gradient(g, x, w)),
            (v.weight_grad(G, X, W), c.filter_gradient(g, x, w)),
            (v.bias_grad(G), g.sum((0, 2, 3))),
        ]:
            error = np.abs(found.to_numpy() - expected).max() / np.abs(expected).max()
            assert error < 400 * np.finfo(dtype).eps, (c, dtype, error)
    for p, shape in [
        (Pooling((2, 2), (2, 2)), (3, 16, 24, 24)),
        (Pooling((3, 3), (3, 3)), (2, 35, 13, 12)),
        (Pooling((3, 2), (2, 1), (1, 1)), (1, 5, 9, 8)),
        (Pooling((4, 4), (3, 3), (2, 0), conv.pool_op.avg), (2, 9, 11, 10)),
    ]:
        x = rng.standard_normal(shape).astype(dtype).astype(float)
        y = p.forward(x)
        g = rng.standard_normal(y.shape)
        X, G = owl.from_numpy(x, dtype), owl.from_numpy(g, dtype)
        found = p.pooler().ff(X)
        assert np.abs(found.to_numpy() - y).max() < 16 * np.finfo(dtype).eps
        assert np.abs(p.pooler().bp(G, found, X).to_numpy() - p.gradient(g, x)).max() < 64 * np.finfo(dtype).eps
    x = rng.standard_normal((2, 19, 5, 7))
    found = conv.Lrner(5, 0.2, 0.75).ff(owl.from_numpy(x, dtype)).to_numpy()
    assert np.abs(found - normalization(x, 5, 0.2, 0.75)[0]).max() < 64 * np.finfo(dtype).eps
assert owl._runtime.isa() == sys.argv[1]
"""


@pytest.mark.parametrize("isa", available())
def test_every_instruction_set_convolves(isa, python, request):
    done = python(SWEEP, isa, str(request.path.parent.parent), OWL_ISA=isa)
    assert done.returncode == 0, done.stderr[-2000:]


def test_equal_calls_have_equal_bits():
    x, w = owl.randn([28, 28, 1, 40]), owl.randn([5, 5, 1, 16])
    convolver = Convolution().convolver()
    same_bits(convolver.ff(x, w).to_numpy(), convolver.ff(x, w).to_numpy())
