"""The CUDA kernels for running sums and takes, compiled as C++, have the bits of owl's CPU kernels."""

import ctypes

import numpy as np
import pytest

import owl
from tests.agreement import DTYPES, same_bits, same_numbers


class Cumsum(ctypes.Structure):
    """CumsumLaunch of args.h."""

    _fields_ = [(name, ctypes.c_int64) for name in ("inner", "length", "outer", "reverse")]
    _fields_ += [(name, ctypes.c_void_p) for name in ("x", "y")]


class Take(ctypes.Structure):
    """TakeLaunch of args.h."""

    _fields_ = [(name, ctypes.c_int64) for name in ("inner", "length", "count", "outer", "back")]
    _fields_ += [(name, ctypes.c_void_p) for name in ("x", "indices", "y")]


def run(kernels, name, launch, shape, dtype, blocks):
    """Gives room for a result behind which nothing may be written."""
    y = np.full(int(np.prod(shape)) + 16, 7, dtype)
    launch.y = y.ctypes.data
    kernels.run(f"{name}_f{8 * y.itemsize}", launch, blocks, seed=blocks)
    assert (y[-16:] == 7).all()
    return y[:-16].reshape(shape)


def numbers(rng, shape, dtype):
    specials = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42])
    return np.where(rng.random(shape) < 0.002, rng.choice(specials, shape), rng.standard_normal(shape)).astype(dtype)


# A block's threads have a piece of 256 each: at 65536 numbers its next stretch begins.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (3, 256, 1), (2, 257, 1), (1, 70_000, 1), (2, 300, 5), (1, 5, 400), (7, 3, 1), (3, 513, 2)]
)
@pytest.mark.parametrize("name", ["cumsum_lines", "cumsum_long"])
def test_running_sums(kernels, name, shape, reverse, dtype):
    x = numbers(np.random.default_rng(1), shape, dtype)
    given = owl.from_numpy(x, dtype=dtype)
    if reverse:
        wanted = owl.vjp(lambda x: x.cumsum(1), owl.zeros(given.shape, dtype))[1](given)[0].to_numpy()
    else:
        wanted = given.cumsum(1).to_numpy()
    for blocks in (1, 3):
        launch = Cumsum(shape[2], shape[1], shape[0], reverse, x.ctypes.data)
        same_numbers(run(kernels, name, launch, shape, dtype, blocks), wanted)


def indices_of(rng, count, length, dtype):
    indices = rng.integers(0, length, count).astype(dtype)
    wrong = np.array([-1, length, 0.5, np.nan, np.inf, -np.inf, 1e30])
    return np.where(rng.random(count) < 0.05, rng.choice(wrong, count), indices).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("outer", "length", "inner", "count"),
    [
        (1, 1, 1, 1),
        (1, 40, 64, 300),
        (3, 7, 5, 20),
        (2, 999, 1, 999),
        (1, 3, 700, 256),
        (1, 9, 33, 257),
        (5, 2, 1, 9),
    ],
)
def test_takes_and_their_gradients(kernels, outer, length, inner, count, dtype):
    rng = np.random.default_rng(2)
    x, indices = numbers(rng, (outer, length, inner), dtype), indices_of(rng, count, length, dtype)
    gradient = numbers(rng, (outer, count, inner), dtype)
    taken, pull_back = owl.vjp(
        lambda x: owl.take(x, owl.from_numpy(indices, dtype=dtype), 1), owl.from_numpy(x, dtype=dtype)
    )
    wanted = pull_back(owl.from_numpy(gradient, dtype=dtype))[0].to_numpy()
    for blocks in (1, 3, 50):
        launch = Take(inner, length, count, outer, 0, x.ctypes.data, indices.ctypes.data)
        same_numbers(run(kernels, "take", launch, taken.to_numpy().shape, dtype, blocks), taken.to_numpy())
        launch.x, launch.back = gradient.ctypes.data, 1
        same_numbers(run(kernels, "take_back", launch, x.shape, dtype, blocks), wanted)


def test_a_gradient_from_no_index_is_zero(kernels):
    launch = Take(3, 5, 0, 2, 1)
    same_bits(run(kernels, "take_back", launch, (2, 5, 3), np.float32, 2), np.zeros((2, 5, 3), np.float32))
