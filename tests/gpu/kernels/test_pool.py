"""The CUDA kernels for pooling, compiled as C++, have the bits of owl's CPU kernels."""

import random

import numpy as np
import pytest

import owl
import owl.conv as conv
from tests.agreement import DTYPES, same_numbers
from tests.convolution_reference import Pooling
from tests.gpu.kernels.convolving import numbers, pool_launch


def drawn(seed, op):
    coin, rng = random.Random(seed), np.random.default_rng(seed)
    while True:
        window = (coin.choice([1, 2, 3, 5, 17]), coin.choice([1, 2, 3, 4, 16]))
        stride = (coin.randint(1, 4), coin.randint(1, 4)) if coin.random() < 0.6 else window
        pad = (coin.randint(0, 2), coin.randint(0, 2)) if coin.random() < 0.5 else (0, 0)
        size = (coin.randint(1, 20), coin.randint(1, 20))
        if all(k <= n + 2 * p and p < k for k, n, p in zip(window, size, pad)):
            break
    shape = (coin.randint(1, 3), coin.choice([1, 3, 17]), *size)
    ties = rng.integers(-3, 3, shape).astype(float)
    return Pooling(window, stride, pad, op), ties if coin.random() < 0.5 else numbers(rng, shape, float, special=True)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [conv.pool_op.max, conv.pool_op.avg])
@pytest.mark.parametrize("seed", range(40))
def test_both_directions(kernels, seed, op, dtype):
    p, x = drawn(seed, op)
    x, rng = x.astype(dtype), np.random.default_rng(seed)
    launch, out = pool_launch(p, x)
    kind = f"f{8 * x.itemsize}"
    data = owl.from_numpy(x, dtype)
    pooled = p.pooler().ff(data)
    y = np.full((*x.shape[:2], *out), 7, dtype)
    launch.x, launch.y = x.ctypes.data, y.ctypes.data
    kernels.run(f"pool_forward_{kind}", launch, 1 + seed % 3, seed)
    same_numbers(y, pooled.to_numpy())

    g = numbers(rng, y.shape, dtype)
    g[rng.random(y.shape) < 0.2] = -0.0
    x_diff, positions = np.full_like(x, 7), np.full(y.shape, 99, np.int64)
    launch.y, launch.y_diff, launch.x_diff = None, g.ctypes.data, x_diff.ctypes.data
    if op == conv.pool_op.max:
        if p.window[0] * p.window[1] <= 256:
            positions = positions.astype(np.uint8)
        launch.positions, launch.position_bytes = positions.ctypes.data, positions.itemsize
        kernels.run(f"pool_forward_{kind}", launch, 1 + seed % 2, seed)
        assert (positions < p.window[0] * p.window[1]).all()
        launch.x = None
    kernels.run(f"pool_backward_{kind}", launch, 1 + seed % 3, seed)
    same_numbers(x_diff, p.pooler().bp(owl.from_numpy(g, dtype), pooled, data).to_numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [conv.pool_op.max, conv.pool_op.avg])
@pytest.mark.parametrize("seed", range(12))
def test_a_relu_below_the_pooling(kernels, seed, op, dtype):
    p, x = drawn(seed, op)
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.integers(-3, 4, x.shape), 0).astype(dtype)
    launch, out = pool_launch(p, x)
    kind = f"f{8 * x.itemsize}"
    y, g, x_diff = (
        np.zeros((*x.shape[:2], *out), dtype),
        rng.standard_normal((*x.shape[:2], *out)).astype(dtype),
        np.empty_like(x),
    )
    positions = np.zeros(y.shape, np.int64)
    launch.x, launch.y, launch.y_diff, launch.x_diff = (array.ctypes.data for array in (x, y, g, x_diff))
    launch.positions, launch.position_bytes = positions.ctypes.data, 8
    kernels.run(f"pool_forward_{kind}", launch, 2, seed)
    kernels.run(f"pool_backward_{kind}", launch, 2, seed)
    wanted = np.where(x > 0, x_diff, 0)
    assert seed or not np.array_equal(wanted, x_diff)
    launch.mask = (y if op == conv.pool_op.max else x).ctypes.data
    kernels.run(f"pool_backward_{kind}", launch, 3, seed)
    same_numbers(x_diff, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_maximum_wins_and_the_last_nan(kernels, dtype):
    x = np.array([[1, 5, 5, 0], [5, 2, np.nan, np.nan]], dtype).reshape(1, 1, 2, 4)
    p = Pooling((2, 2), (2, 2))
    launch, out = pool_launch(p, x)
    y, positions = np.zeros(out, dtype), np.zeros(out, np.uint8)
    launch.x, launch.y, launch.positions, launch.position_bytes = (
        x.ctypes.data, y.ctypes.data, positions.ctypes.data, 1,
    )  # fmt: skip
    kernels.run(f"pool_forward_f{8 * x.itemsize}", launch, 1)
    assert y[0, 0] == 5
    assert np.isnan(y[0, 1])
    assert positions.tolist() == [[1, 3]]
