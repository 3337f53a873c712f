"""The CUDA kernels for softmax and the cross entropy, compiled as C++, have the bits of owl's CPU kernels."""

import ctypes

import numpy as np
import pytest

import owl
from owl import _runtime
from tests.agreement import DTYPES, same_numbers

pytestmark = pytest.mark.skipif(
    _runtime.isa() == "generic", reason="it rounds twice where the others fuse a multiplication and an addition"
)

KINDS = {  # as the kernels number them
    "plain": owl.conv.softmax,
    "logarithm": owl.conv.log_softmax,
    "loss": owl.conv.cross_entropy,
    "difference": owl.conv.cross_entropy_back,
}
SHORT_LINE = 64


class Launch(ctypes.Structure):
    """SoftmaxLaunch of args.h."""

    _fields_ = [
        ("inner", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("outer", ctypes.c_int64),
        ("x", ctypes.c_void_p),
        ("label", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("kind", ctypes.c_uint8),
    ]


def on_cuda(kernels, kind, x, label=None, *, blocks=1, seed=1, over=False):
    """`x` is [outer, length, inner]. `over`: the result is written over `x`."""
    outer, length, inner = x.shape
    shape = (outer, 1, inner) if kind == "loss" else x.shape
    y = x if over else np.full(np.prod(shape) + 16, 7, x.dtype)
    launch = Launch(inner, length, outer, x.ctypes.data, None, y.ctypes.data, list(KINDS).index(kind))
    if label is not None:
        launch.label = label.ctypes.data
    is_long = inner == 1 and length > SHORT_LINE
    kernels.run(f"softmax_{'long' if is_long else 'lines'}_f{8 * x.itemsize}", launch, blocks, seed)
    if over:
        return y
    assert (y[-16:] == 7).all()
    return y[:-16].reshape(shape)


def on_cpu(kind, x, label=None):
    """By the classic API: [classes, n] for the cross entropy, channels of a batch otherwise."""
    outer, length, inner = x.shape
    if label is not None:
        flat = [owl.from_numpy(array.reshape(outer, length), dtype=array.dtype) for array in (x, label)]
        return KINDS[kind](*flat).to_numpy().reshape(outer, -1, 1)
    batch = owl.from_numpy(x.reshape(outer, length, 1, inner), dtype=x.dtype)
    return KINDS[kind](batch, owl.conv.soft_op.channel).to_numpy().reshape(x.shape)


def numbers(rng, shape, dtype, spread=5.0, special=0.0):
    x = rng.standard_normal(shape) * spread
    specials = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, 1e4, -1e4])
    return np.where(rng.random(shape) < special, rng.choice(specials, shape), x).astype(dtype)


def labels(rng, shape, dtype):
    """Most of them 0, the others of any sign."""
    return np.where(rng.random(shape) < 0.3, rng.standard_normal(shape), 0).astype(dtype)


def check(kernels, kind, x, label=None):
    wanted = on_cpu(kind, x, label)
    for blocks in (1, 3, 40):
        same_numbers(on_cuda(kernels, kind, x, label, blocks=blocks, seed=blocks), wanted)


# Around the ends of short lines, lanes and groups of additions: 64 or 32 lanes add 240 numbers each.
LINES = [(1, 1), (300, 1), (300, 10), (7, 64), (7, 65), (5, 1000), (2, 32 * 240), (1, 64 * 240 + 5), (1, 40_000)]
ACROSS = [(3, 5, 7), (2, 239, 3), (2, 240, 3), (2, 241, 3), (1, 1000, 2), (40, 3, 30), (1, 1, 300)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("special", [0.0, 0.02])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("outer", "length"), LINES)
def test_lines_of_adjacent_numbers(kernels, outer, length, kind, special, dtype):
    rng = np.random.default_rng(1)
    shape = (outer, length, 1)
    x = numbers(rng, shape, dtype, special=special)
    check(kernels, kind, x, labels(rng, shape, dtype) if kind in ("loss", "difference") else None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("special", [0.0, 0.02])
@pytest.mark.parametrize("kind", ["plain", "logarithm"])
@pytest.mark.parametrize("shape", ACROSS)
def test_lines_across(kernels, shape, kind, special, dtype):
    check(kernels, kind, numbers(np.random.default_rng(2), shape, dtype, special=special))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, -0.0, 1e30, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("length", [3, 100])
def test_lines_of_one_value(kernels, length, value, kind, dtype):
    x = np.full((5, length, 1), value, dtype)
    check(kernels, kind, x, np.ones_like(x) if kind in ("loss", "difference") else None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["loss", "difference"])
@pytest.mark.parametrize("length", [10, 1000])
def test_a_class_that_does_not_occur_costs_nothing(kernels, length, kind, dtype):
    x = numbers(np.random.default_rng(3), (20, length, 1), dtype)
    x[:, 1:] = -np.inf
    label = np.zeros_like(x)
    label[:, 0] = 1
    check(kernels, kind, x, label)
    assert (on_cuda(kernels, "loss", x, label) == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["plain", "logarithm", "difference"])
@pytest.mark.parametrize("shape", [(30, 10, 1), (6, 300, 1), (4, 5, 6)])
def test_a_result_over_its_input(kernels, shape, kind, dtype):
    rng = np.random.default_rng(4)
    if kind == "difference":
        shape = (*shape[:2], 1)
    x = numbers(rng, shape, dtype)
    label = labels(rng, shape, dtype) if kind == "difference" else None
    wanted = on_cuda(kernels, kind, x, label)
    same_numbers(on_cuda(kernels, kind, x.copy(), label, over=True, blocks=2), wanted)
