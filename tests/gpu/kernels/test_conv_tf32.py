"""The kernels for convolutions on tensor cores, compiled as C++, keep the bound that conv_tf32.cu states.

There a thread does its part of a tensor core's instruction with the numbers that its warp's threads hand in.
"""

import random

import numpy as np
import pytest

import owl.conv as conv
from tests.agreement import same_numbers
from tests.convolution_reference import Pooling
from tests.gpu.kernels.convolving import Case, numbers, pool_launch, pool_window

CHANNELS = (15, 70)
ROUNDING, ADDITION = 2.0**-11, 2.0**-23


def rounded(x):
    """To TF32, by arithmetic in float64: 11 significant bits, ties away from 0."""
    mantissa, exponent = np.frexp(x.astype(float))
    return np.ldexp(np.copysign(np.floor(np.abs(mantissa) * 2.0**11 + 0.5), mantissa), exponent - 11)


def check(found, compute, a, b, products, rounding):
    """Against the sum of products in float64, whose own roundings count as well. `rounding`: of each factor."""
    bound = (1 + rounding) ** 2 * (1 + ADDITION) ** products - 1 + 2 * products * 2.0**-53
    assert np.all(np.abs(found - compute(a, b)) <= bound * compute(abs(a), abs(b)))


@pytest.mark.parametrize("seed", range(14))
def test_both_directions_are_within_their_bound(kernels, seed):
    case, rng = Case(seed, CHANNELS), np.random.default_rng(seed)
    x, w, g = case.arrays(rng, np.float32)
    area = case.kernel[0] * case.kernel[1]

    def compare(found, compute, a, products):
        check(found, compute, a.astype(float), w.astype(float), products, ROUNDING)
        check(found, compute, rounded(a), rounded(w), products, 0)

    y = np.full_like(g, np.nan)
    kernels.run("conv_tf32", case.launch(x, w, None, y, adjoint=False), 1 + seed % 7, seed)
    compare(y, case.c.forward, x, case.group_in * area)
    x_diff = np.full_like(x, np.nan)
    kernels.run("conv_tf32", case.launch(g, w, None, x_diff, adjoint=True), 1 + seed % 5, seed)
    compare(x_diff, lambda a, b: case.c.data_gradient(a, x.astype(float), b), g, case.group_out * area)
    # The numbers were rounded, where not all taps are beyond the edge.
    exact = np.full_like(g, np.nan)
    kernels.run("conv_wide_f32", case.launch(x, w, None, exact, adjoint=False), 1 + seed % 7, seed)
    assert np.any(exact != y) == np.any(y)


def test_numbers_are_rounded_to_nearest_and_ties_away(kernels):
    case = Case(1, (1, 1))
    case.kernel, case.size, case.out, case.batch = (1, 1), (16, 64), (16, 64), 1
    case.c = type(case.c)()
    case.group_in = case.c_in = 1
    case.group_out = case.c_out = 20
    bits = np.random.default_rng(1).integers(0, 1 << 32, 1024, np.uint64).astype(np.uint32)
    bits[::2] = bits[::2] & ~np.uint32(0x1FFF) | np.uint32(0x1000)  # a tie
    bits[1::8] |= np.uint32(0x1FFF)
    x = bits.view(np.float32).reshape(1, 1, 16, 64)
    # One times a number is that number, but where an infinity comes of it or its bits are too few.
    plain = np.isfinite(x) & (np.abs(x) > 1e-30) & (np.abs(x) < 1e38)
    x = np.where(plain, x, np.float32(1 + 2.0**-11))
    special = np.array([np.inf, -np.inf, np.nan, np.nan, 0.0, -0.0], np.float32)
    special.view(np.uint32)[3] = 0x7FFFFFFF
    x[0, 0, 0, :6] = special
    w = np.full((20, 1, 1, 1), 1, np.float32)
    y = np.full((1, 20, 16, 64), 7, np.float32)
    kernels.run("conv_tf32", case.launch(x, w, None, y, adjoint=False), 3)
    wanted = np.where(np.isfinite(x), rounded(np.where(np.isfinite(x), x, 0)), x).astype(np.float32)
    assert wanted[0, 0, 15, 63] != x[0, 0, 15, 63]
    for channel in range(20):
        same_numbers(y[:, channel : channel + 1] + 0, wanted + 0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("op", [conv.pool_op.max, conv.pool_op.avg])
@pytest.mark.parametrize("seed", range(8))
def test_relu_and_pooling_in_the_pass_have_the_bits_of_passes_of_their_own(kernels, seed, op):
    coin, rng = random.Random(seed), np.random.default_rng(seed)
    case = Case(seed, CHANNELS)
    x, w, y = case.arrays(rng, np.float32, special=seed % 3 == 0)
    bias = numbers(rng, (case.c_out,), np.float32)
    plain = np.full_like(y, 7)
    kernels.run("conv_tf32", case.launch(x, w, None, plain, adjoint=False), 1 + seed % 7, seed)
    launch = case.launch(x, w, bias, y, adjoint=False)
    launch.relu = seed % 4 < 2
    kernels.run("conv_tf32", launch, 1 + seed % 3, seed)
    with_bias = plain + bias[:, None, None]
    same_numbers(y, np.where(with_bias < 0, np.float32(0), with_bias) if launch.relu else with_bias)

    window = coin.choice([(2, 2), (1, 4), (4, 1)])
    pooling = Pooling(
        window, (window[0] + coin.choice([0, 0, 1]), window[1]), tuple(coin.randrange(n) for n in window), op
    )
    separate, out = pool_launch(pooling, y)
    wanted = np.full((*y.shape[:2], *out), 7, np.float32)
    wanted_positions = np.full(wanted.shape, 99, np.uint8)
    separate.x, separate.y, separate.position_bytes = y.ctypes.data, wanted.ctypes.data, 1
    separate.positions = wanted_positions.ctypes.data
    kernels.run("pool_forward_f32", separate, 2, seed)
    result, positions = np.full_like(wanted, 7), np.full_like(wanted_positions, 99)
    launch.result, launch.positions = result.ctypes.data, positions.ctypes.data
    launch.pool = pool_window(pooling, case.out)
    kernels.run("conv_pool_tf32", launch, 1 + seed % 5, seed)
    same_numbers(result, wanted)
    if op == conv.pool_op.max:
        assert np.array_equal(positions, wanted_positions)
