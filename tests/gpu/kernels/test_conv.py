"""The CUDA kernels for convolution, compiled as C++.

Forward and backward in the data they have the bits of owl's direct algorithm on the CPU. Gradients of filters and
biases keep the bounds that conv_filter.cu states, in an order of their own.
"""

import math
import random

import numpy as np
import pytest

import owl
import owl.conv as conv
from owl import _runtime
from tests.agreement import DTYPES, same_numbers
from tests.convolution_reference import Pooling
from tests.gpu.kernels.convolving import Case, Gradient, numbers, pool_launch, pool_window

pytestmark = pytest.mark.skipif(_runtime.isa() == "generic", reason="it rounds twice where the others fuse")

# Of each kernel: the channels of a group that the lowering gives it, and a few more.
KINDS = {"single": (1, 6), "narrow": (3, 20), "wide": (15, 70)}
STRETCH, LANES = 256, 128
UNITS = {np.float32: 2.0**-24, np.float64: 2.0**-53}


@pytest.fixture(autouse=True)
def direct():
    """The CPU's direct algorithm, which is the one that adds in a stated order."""
    was = _runtime.set_winograd(False)
    yield
    _runtime.set_winograd(was)


def name(kind, dtype):
    return f"conv_{kind}_f{8 * np.dtype(dtype).itemsize}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(16))
def test_both_directions_have_the_bits_of_the_cpu(kernels, seed, kind, dtype):
    case, rng = Case(seed, KINDS[kind]), np.random.default_rng(seed)
    x, w, g = case.arrays(rng, dtype, special=seed % 3 == 0)
    bias = numbers(rng, (case.c_out,), dtype) if seed % 2 else None
    data, filters, gradient = (owl.from_numpy(a, dtype) for a in (x, w, g))
    convolver = case.c.convolver()
    wanted = convolver.ff(data, filters, *([] if bias is None else [owl.from_numpy(bias, dtype)])).to_numpy()
    y = np.full_like(g, 7)
    kernels.run(name(kind, dtype), case.launch(x, w, bias, y, adjoint=False), 1 + seed % 7, seed)
    same_numbers(y, wanted)
    x_diff = np.full_like(x, 7)
    kernels.run(name(kind, dtype), case.launch(g, w, None, x_diff, adjoint=True), 1 + seed % 5, seed)
    same_numbers(x_diff, convolver.bp(gradient, data, filters).to_numpy())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [conv.pool_op.max, conv.pool_op.avg])
@pytest.mark.parametrize("kind", ["narrow", "wide"])
@pytest.mark.parametrize("seed", range(12))
def test_relu_and_pooling_in_the_pass_have_the_bits_of_passes_of_their_own(kernels, seed, kind, op, dtype):
    coin, rng = random.Random(seed), np.random.default_rng(seed)
    case = Case(seed, KINDS[kind])
    x, w, y = case.arrays(rng, dtype, special=seed % 3 == 0)
    bias = numbers(rng, (case.c_out,), dtype) if seed % 2 else None
    launch = case.launch(x, w, bias, y, adjoint=False)
    launch.relu = seed % 4 < 2
    kernels.run(name(kind, dtype), launch, 1 + seed % 7, seed)
    if not launch.relu:
        assert np.any(y < 0)

    window = coin.choice([(2, 2), (1, 4), (4, 1)])
    pooling = Pooling(
        window, (window[0] + coin.choice([0, 0, 1]), window[1]), tuple(coin.randrange(n) for n in window), op
    )
    separate, out = pool_launch(pooling, y)
    wanted, wanted_positions = np.full((*y.shape[:2], *out), 7, dtype), np.full((*y.shape[:2], *out), 99, np.uint8)
    separate.x, separate.y, separate.position_bytes = y.ctypes.data, wanted.ctypes.data, 1
    separate.positions = wanted_positions.ctypes.data
    kernels.run(f"pool_forward_f{8 * y.itemsize}", separate, 2, seed)

    result, positions = np.full_like(wanted, 7), np.full_like(wanted_positions, 99)
    launch.result, launch.pool, launch.positions = (
        result.ctypes.data,
        pool_window(pooling, case.out),
        positions.ctypes.data,
    )
    kernels.run(f"conv_pool_{kind}_f{8 * y.itemsize}", launch, 1 + seed % 5, seed)
    same_numbers(result, wanted)
    if op == conv.pool_op.max:
        assert np.array_equal(positions, wanted_positions)


def gradient_launch(case, parts, multiple, elements):
    positions = case.batch * case.out[0] * case.out[1]
    length = math.ceil(math.ceil(positions / parts) / multiple) * multiple
    return Gradient(sizes=case.sizes(), parts=math.ceil(positions / length), part_positions=length, elements=elements)


def run_gradient(kernels, kind, launch, result, seed):
    """The launches of a gradient; returns how many roundings there are in a row."""
    threads = kernels.threads(kind)
    part = result if launch.parts == 1 else np.full((launch.parts, *result.shape), np.nan, result.dtype)
    launch.part, launch.gradient = part.ctypes.data, result.ctypes.data
    kernels.run(kind, launch, 1 + seed % 7, seed)
    if launch.parts > 1:
        kernels.run(f"conv_parts_{kind[-3:]}", launch, 1 + seed % 3, seed)
    if "bias" in kind:
        return launch.part_positions // threads + 7 + launch.parts
    return STRETCH + launch.part_positions // STRETCH + launch.parts


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["filter", "filter_few"])
@pytest.mark.parametrize("seed", range(12))
def test_the_gradient_of_filters_is_within_its_bound(kernels, seed, kind, dtype):
    case, rng = Case(seed, (1, 12) if "few" in kind else (5, 70)), np.random.default_rng(seed)
    case.batch = [1, 9, 23][seed % 3]
    x, w, g = case.arrays(rng, dtype)
    found = np.full_like(w, np.nan)
    launch = gradient_launch(case, 1 + seed % 4, STRETCH, w.size)
    launch.x, launch.y_diff = x.ctypes.data, g.ctypes.data
    roundings = run_gradient(kernels, f"conv_{kind}_f{8 * w.itemsize}", launch, found, seed)
    # The reference is in float64, and has an error of its own.
    exact = case.c.filter_gradient(g.astype(float), x.astype(float), w.astype(float))
    terms = case.c.filter_gradient(abs(g.astype(float)), abs(x.astype(float)), w.astype(float))
    reference_error = 2 * g.size * 2.0**-53 * terms
    assert np.all(np.abs(found - exact) <= (roundings + 1) * UNITS[dtype] * terms + reference_error)
    # Neither tiles nor the order of blocks change a bit.
    again = np.full_like(w, np.nan)
    run_gradient(
        kernels, f"conv_{'filter' if 'few' in kind else 'filter_few'}_f{8 * w.itemsize}", launch, again, seed + 1
    )
    same_numbers(again, found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(8))
def test_the_gradient_of_biases_is_within_its_bound(kernels, seed, dtype):
    case, rng = Case(seed, (1, 9)), np.random.default_rng(seed)
    case.batch = [1, 9, 40][seed % 3]
    g = case.arrays(rng, dtype)[2]
    found = np.full(case.c_out, np.nan, dtype)
    launch = gradient_launch(case, 1 + seed % 4, LANES, case.c_out)
    launch.y_diff = g.ctypes.data
    roundings = run_gradient(kernels, f"conv_bias_f{8 * g.itemsize}", launch, found, seed)
    exact = [math.fsum(g[:, channel].ravel().tolist()) for channel in range(case.c_out)]
    terms = np.abs(g.astype(float)).sum((0, 2, 3))
    assert np.all(np.abs(found - exact) <= (roundings + 1) * UNITS[dtype] * terms)


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_sums_are_cut_into_stretches(kernels, dtype):
    case = Case(1, (1, 1))
    case.kernel, case.size, case.out, case.batch = (1, 1), (100, 100), (100, 100), 6
    case.c = type(case.c)()
    case.c_in = case.c_out = 1
    g, found = np.full((6, 1, 100, 100), 0.1, dtype), np.zeros((1, 1, 1, 1), dtype)
    x = np.ones_like(g)
    launch = gradient_launch(case, 2, STRETCH, 1)
    launch.x, launch.y_diff = x.ctypes.data, g.ctypes.data
    run_gradient(kernels, f"conv_filter_few_f{8 * g.itemsize}", launch, found, 1)
    exact = 60_000 * float(g[0, 0, 0, 0])
    one_by_one = np.add.accumulate(g.ravel(), dtype=dtype)[-1]
    assert 30 * abs(found.item() - exact) < abs(float(one_by_one) - exact)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_to_add_up(kernels, dtype):
    case = Case(2, (2, 2))
    case.batch = 0
    w = np.full((case.c_out, case.group_in, *case.kernel), np.nan, dtype)
    launch = Gradient(sizes=case.sizes(), parts=1, part_positions=STRETCH, elements=w.size)
    run_gradient(kernels, f"conv_filter_f{8 * w.itemsize}", launch, w, 1)
    assert (w == 0).all()
    case = Case(2, (2, 2))
    case.group_in = case.c_in = 0
    for kind in KINDS:
        y = np.full((case.batch, case.c_out, *case.out), np.nan, dtype)
        bias = np.arange(case.c_out, dtype=dtype)
        kernels.run(name(kind, dtype), case.launch(y[:0], y[:0], bias, y, adjoint=False), 2)
        assert (y == bias[:, None, None]).all()
