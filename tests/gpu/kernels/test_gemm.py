"""The CUDA kernels for matrix products, compiled as C++, have the bits of owl's CPU kernels."""

import ctypes
import random

import numpy as np
import pytest

import owl
from owl import _runtime
from tests.agreement import DTYPES, same_bits, same_numbers
from tests.gpu.kernels.launching import (
    INPUTS,
    INSTRUCTIONS,
    OUTPUTS,
    SCALAR_OPERAND,
    SCALARS,
    Instruction,
    Program,
    random_program,
)

pytestmark = pytest.mark.skipif(_runtime.isa() == "generic", reason="the generic set does not fuse")

TILES = {
    ("f32", "small"): (32, 32),
    ("f32", "large"): (128, 64),
    ("f64", "small"): (32, 32),
    ("f64", "large"): (64, 64),
}
LAYOUTS = ["dense", "transposed", "spaced"]


class Gemm(ctypes.Structure):
    """GemmLaunch of args.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("m", "n", "k", "a_row", "a_col", "b_row", "b_col")),
        *((name, ctypes.c_void_p) for name in ("a", "b", "c")),
    ]


class GemmProgram(ctypes.Structure):
    """GemmProgramLaunch of args.h."""

    _fields_ = [
        ("product", Gemm),
        ("stride", (ctypes.c_int64 * 2) * INPUTS),
        ("input", ctypes.c_void_p * INPUTS),
        ("output", ctypes.c_void_p * OUTPUTS),
        ("scalar", ctypes.c_double * SCALARS),
        ("instruction", Instruction * INSTRUCTIONS),
        ("input_type", ctypes.c_uint8 * INPUTS),
        ("output_type", ctypes.c_uint8 * OUTPUTS),
        ("output_register", ctypes.c_uint8 * OUTPUTS),
        ("n_inputs", ctypes.c_uint8),
        ("n_outputs", ctypes.c_uint8),
        ("n_instructions", ctypes.c_uint8),
    ]


def numbers(rng, shape, dtype, layout="dense", specials=0.0):
    """An array of this shape, reversed against owl's."""
    if layout == "transposed":
        return numbers(rng, shape[::-1], dtype, specials=specials).T
    if layout == "spaced":
        return numbers(rng, (2 * shape[0], 3 * shape[1]), dtype, specials=specials)[::2, ::3]
    x = rng.standard_normal(shape)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, 1e30, 3e38])
    return np.where(rng.random(shape) < specials, rng.choice(special, shape), x).astype(dtype)


def array(x):
    return owl.from_numpy(np.ascontiguousarray(x), dtype=x.dtype)


def on_cpu(a, b):
    return (array(a) * array(b)).to_numpy()


def launch(a, b, c):
    """For A as (k, m), B as (n, k) and C as (n, m); a C that is None stays unset."""
    a_col, a_row = (stride // a.itemsize for stride in a.strides)
    b_col, b_row = (stride // b.itemsize for stride in b.strides)
    args = Gemm(m=a.shape[1], n=b.shape[0], k=a.shape[0], a_row=a_row, a_col=a_col, b_row=b_row, b_col=b_col)
    if args.k:
        args.a, args.b = a.ctypes.data, b.ctypes.data
    if c is not None:
        args.c = c.ctypes.data
    return args


def kind_of(dtype):
    return "f32" if dtype == np.float32 else "f64"


def blocks(args, dtype, tile):
    rows, columns = TILES[kind_of(dtype), tile]
    return max(1, -(-args.m // rows) * -(-args.n // columns))


def on_cuda(kernels, a, b, tile, seed=1):
    """The product; numbers behind its end stay as they are."""
    m, n = a.shape[1], b.shape[0]
    c = np.full(m * n + 64, 7, a.dtype)
    args = launch(a, b, c)
    kernels.run(f"gemm_{kind_of(a.dtype)}_{tile}", args, blocks(args, a.dtype, tile), seed)
    assert (c[m * n :] == 7).all()
    return c[: m * n].reshape(n, m)


@pytest.mark.parametrize("tile", ["small", "large"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(24))
def test_random_products(kernels, seed, dtype, tile):
    coin, rng = random.Random(seed), np.random.default_rng(seed)
    m, n, k = (coin.randint(1, coin.choice([4, 40, 130])) for _ in range(3))
    a = numbers(rng, (k, m), dtype, coin.choice(LAYOUTS), specials=coin.choice([0, 0.02]))
    b = numbers(rng, (n, k), dtype, coin.choice(LAYOUTS), specials=coin.choice([0, 0.02]))
    same_numbers(on_cuda(kernels, a, b, tile, seed), on_cpu(a, b))


@pytest.mark.parametrize("tile", ["small", "large"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("a_layout", LAYOUTS)
@pytest.mark.parametrize("b_layout", LAYOUTS)
def test_all_layouts(kernels, b_layout, a_layout, dtype, tile):
    rng = np.random.default_rng(1)
    a, b = numbers(rng, (70, 131), dtype, a_layout), numbers(rng, (66, 70), dtype, b_layout)
    same_bits(on_cuda(kernels, a, b, tile), on_cpu(a, b))


@pytest.mark.parametrize("kernels", ["plain"], indirect=True)
@pytest.mark.parametrize("tile", ["small", "large"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_long_product(kernels, dtype, tile):
    rng = np.random.default_rng(2)
    a, b = numbers(rng, (300, 300), dtype), numbers(rng, (300, 300), dtype, "transposed")
    same_bits(on_cuda(kernels, a, b, tile), on_cpu(a, b))


@pytest.mark.parametrize("tile", ["small", "large"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, 32, 33, 128])
@pytest.mark.parametrize("n", [1, 64, 65])
@pytest.mark.parametrize("k", [0, 1, 8, 16, 17, 32])
def test_sizes_around_a_tile(kernels, m, n, k, dtype, tile):
    rng = np.random.default_rng(m + n + k)
    a, b = numbers(rng, (k, m), dtype), numbers(rng, (n, k), dtype)
    found = on_cuda(kernels, a, b, tile)
    same_bits(found, on_cpu(a, b) if k else np.zeros((n, m), dtype))


@pytest.mark.parametrize("tile", ["small", "large"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(24))
def test_wide_loads_change_no_bit(kernels, seed, dtype, tile):
    """Sizes, distances and addresses around multiples of 16 bytes; the checked kernels find a misaligned wide load."""
    coin, rng = random.Random(seed), np.random.default_rng(seed)
    near = lambda n: n + coin.choice([0, 0, 0, 1, 2, 4])  # noqa: E731
    m, n, k = near(coin.choice([4, 32, 132])), near(coin.choice([4, 64, 68])), near(coin.choice([4, 16, 44]))

    def operand(shape):
        """Somewhere within an array whose rows are longer, and perhaps transposed."""
        turned = coin.random() < 0.5
        rows, columns = shape[::-1] if turned else shape
        start, more = coin.choice([0, 0, 1, 2]), coin.choice([0, 0, 2, 4])
        memory = np.full(rows * (columns + more) + start + 64, np.nan, dtype)
        aligned = -memory.ctypes.data % 16 // memory.itemsize
        array = memory[aligned + start :][: rows * (columns + more)].reshape(rows, columns + more)[:, :columns]
        array[:] = numbers(rng, (rows, columns), dtype)
        return array.T if turned else array

    a, b = operand((k, m)), operand((n, k))
    same_bits(on_cuda(kernels, a, b, tile, seed), on_cpu(a, b))


@pytest.mark.parametrize("tile", ["small", "large"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_that_is_minus_zero_stays_so(kernels, dtype, tile):
    # What a fused multiplication and addition rounds to -0 would be +0 after a further product of zeros.
    tiny = np.finfo(dtype).tiny
    a, b = np.full((1, 3), -tiny, dtype), np.full((2, 1), tiny, dtype)
    found = on_cuda(kernels, a, b, tile)
    assert np.signbit(found).all()
    same_bits(found, on_cpu(a, b))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_of_blocks_and_threads_changes_nothing(kernels, dtype):
    rng = np.random.default_rng(3)
    a, b = numbers(rng, (40, 100), dtype), numbers(rng, (90, 40), dtype)
    same_bits(on_cuda(kernels, a, b, "small", seed=1), on_cuda(kernels, a, b, "small", seed=2))
    same_bits(on_cuda(kernels, a, b, "small", seed=1), on_cuda(kernels, a, b, "large", seed=3))


def run_program(kernels, program, a, b, tile, seed=1, outputs=None):
    """The outputs of a program whose first input is the product, which is not given to the kernel."""
    if outputs is None:
        outputs = [np.full(program.shape, 7, dtype) for _, dtype in program.outputs]
    args = GemmProgram(product=launch(a, b, None))
    program.describe(args, outputs)
    args.input[0] = None
    count = 16 if program.registers <= 16 else 64
    name = f"gemm_program_{kind_of(a.dtype)}_{tile}_{count}"
    kernels.run(name, args, blocks(args.product, a.dtype, tile), seed)
    return outputs


def check_program(kernels, seed, dtype, tile, registers):
    coin, rng = random.Random(seed), np.random.default_rng(seed)
    m, n, k = coin.choice([1, 5, 33, 100]), coin.choice([1, 7, 70]), coin.choice([0, 1, 3, 20])
    a = numbers(rng, (k, m), dtype, coin.choice(LAYOUTS))
    b = numbers(rng, (n, k), dtype, coin.choice(LAYOUTS))
    product = on_cpu(a, b) if k else np.zeros((n, m), dtype)
    program = random_program(seed, registers=registers, first=product)
    wanted, _ = program.expected()
    for left, right in zip(run_program(kernels, program, a, b, tile, seed), wanted, strict=True):
        same_numbers(left, right)


@pytest.mark.parametrize("tile", ["small", "large"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(20))
def test_programs_on_products(kernels, seed, dtype, tile):
    check_program(kernels, seed, dtype, tile, 12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(5))
def test_programs_of_many_registers(kernels, seed, dtype):
    coin = random.Random(seed)
    check_program(kernels, coin.randrange(1000), dtype, "small", 64)


def test_the_product_itself_beside_an_output_over_an_input(kernels):
    rng = np.random.default_rng(4)
    a, b = numbers(rng, (20, 50), np.float32), numbers(rng, (40, 20), np.float32)
    product, x = on_cpu(a, b), numbers(rng, (40, 50), np.float32)
    steps = [("add", 2, (0, 1)), ("mul", 2, (2, SCALAR_OPERAND))]
    program = Program(x.dtype, [product, x], [0.5], steps, [(2, x.dtype), (0, x.dtype)], [])
    wanted, _ = program.expected()
    found = run_program(kernels, program, a, b, "small", outputs=[x, np.zeros_like(x)])
    same_bits(found[0], wanted[0])
    same_bits(found[1], product)
