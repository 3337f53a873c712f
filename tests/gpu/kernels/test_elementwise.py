"""The CUDA kernels for element-wise programs, compiled as C++, have the bits of owl's CPU kernels."""

import numpy as np
import pytest

from owl import _runtime
from tests.agreement import same_bits, same_numbers
from tests.gpu.kernels.launching import OPERATIONS, SCALAR_OPERAND, Program, names_in_order, random_program

pytestmark = pytest.mark.skipif(
    _runtime.isa() == "generic", reason="it rounds twice where the others fuse a multiplication and an addition"
)


def compare(found, wanted):
    for left, right in zip(found, wanted, strict=True):
        same_numbers(left, right)


def check(program, kernels, **options):
    outputs, sums = program.run(kernels, **options)
    wanted = program.expected()
    compare(outputs, wanted[0])
    compare(sums, wanted[1])


def test_all_operations_are_tried():
    assert list(OPERATIONS) == names_in_order()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation(kernels, name, dtype):
    rng = np.random.default_rng(1)
    kind = np.uint32 if dtype == np.float32 else np.uint64
    patterns = [rng.integers(0, np.iinfo(kind).max, 4000, dtype=kind, endpoint=True).view(dtype) for _ in range(3)]
    usual = [(rng.standard_normal(4000) * 5).astype(dtype) for _ in range(3)]
    inputs = [np.concatenate(pair) for pair in zip(patterns, usual)]
    operands = tuple(range(OPERATIONS[name][0]))
    check(Program(np.dtype(dtype), inputs, [], [(name, 3, operands)], [(3, np.dtype(dtype))], []), kernels)


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(kernels, seed):
    check(random_program(seed), kernels, wide=bool(seed % 2), seed=seed)


@pytest.mark.parametrize("seed", range(5))
def test_programs_of_many_registers(kernels, seed):
    check(random_program(seed, registers=64), kernels, seed=seed)


@pytest.mark.parametrize("seed", range(20))
def test_sums_in_the_pass(kernels, seed):
    check(random_program(seed, sums=True), kernels, seed=seed)


def test_the_order_of_blocks_and_threads_changes_nothing(kernels):
    program = random_program(3, sums=True)
    first = program.run(kernels, seed=1)
    again = program.run(kernels, seed=2)
    for left, right in zip([*first[0], *first[1]], [*again[0], *again[1]], strict=True):
        same_bits(left, right)


def test_an_output_over_an_input(kernels):
    x = np.arange(5000, dtype=np.float32)
    program = Program(x.dtype, [x], [2.0], [("mul", 1, (0, SCALAR_OPERAND)), ("add", 1, (1, 0))], [(1, x.dtype)], [])
    wanted = program.expected()[0]
    compare(program.run(kernels, over=True)[0], wanted)
    assert x[1] == 3


@pytest.mark.parametrize("kernels", ["checked"], indirect=True)
def test_a_forgotten_barrier_is_found(kernels):
    x, y = np.arange(64, dtype=np.float32), np.zeros(1, np.float32)
    assert kernels.library.run_sum(1, x.ctypes.data, y.ctypes.data, 1) is None
    assert y[0] == x.sum()
    for seed in range(10):
        error = kernels.library.run_sum(0, x.ctypes.data, y.ctypes.data, seed)
        assert error, "not found"
        assert b"sum_without_barriers: part[" in error
        assert b"with no barrier between them" in error
