"""Launches: right numbers from the device's memory, arguments of the moment, and what is refused."""

import ctypes

import numpy as np
import pytest

from owl._cuda.catalogue import KERNELS
from tests.gpu.contract.driving import INVALID_HANDLE, INVALID_VALUE, NOT_FOUND, SUCCESS, copying
from tests.gpu.kernels.launching import SCALAR_OPERAND, Instruction, Launch, names_in_order

COUNT = 1000


@pytest.fixture
def numbers(rng):
    return rng.standard_normal(COUNT).astype(np.float32)


def affine(x, y):
    """The arguments of y = 3 x + 1."""
    names = names_in_order()
    args = Launch(size=COUNT, rows=COUNT, columns=1, ndim=1, n_inputs=1, n_outputs=1, n_instructions=2)
    args.shape[0], args.stride[0][0] = COUNT, 1
    args.input[0], args.output[0], args.output_register[0] = x, y, 1
    args.scalar[0], args.scalar[1] = 3, 1
    args.instruction[0] = Instruction(names.index("mul"), 1, 0, SCALAR_OPERAND, 0)
    args.instruction[1] = Instruction(names.index("add"), 1, 1, SCALAR_OPERAND + 1, 0)
    return args


def test_a_copy_by_a_kernel(driver, numbers):
    stream = driver.stream()
    x, y = driver.on_device(numbers, stream), driver.memory(numbers.nbytes)
    function = driver.kernel("copy_f32_f32_i32")
    assert driver.launch(function, copying(x, y, COUNT), stream, grid=4) == SUCCESS
    assert np.array_equal(driver.numbers(y, COUNT, stream), numbers)


def test_a_program_over_elements(driver, numbers):
    stream = driver.stream()
    x, y = driver.on_device(numbers, stream), driver.memory(numbers.nbytes)
    function = driver.kernel("elementwise_f32_i32_16")
    assert driver.launch(function, affine(x, y), stream, grid=3, block=128) == SUCCESS
    assert np.array_equal(driver.numbers(y, COUNT, stream), numbers * np.float32(3) + np.float32(1))


def test_arguments_are_copied_at_the_launch(lazy, numbers):
    stream = lazy.stream()
    x, y = lazy.on_device(numbers, stream), lazy.memory(numbers.nbytes)
    args = copying(x, y, COUNT)
    assert lazy.launch(lazy.kernel("copy_f32_f32_i32"), args, stream) == SUCCESS
    ctypes.memset(ctypes.addressof(args), 0, ctypes.sizeof(args))
    assert np.array_equal(lazy.numbers(y, COUNT, stream), numbers)


def test_a_kernel_may_read_and_write_pinned_memory(driver, numbers):
    stream, target = driver.stream(), driver.pinned(COUNT)
    x = driver.on_device(numbers, stream)
    assert driver.launch(driver.kernel("copy_f32_f32_i32"), copying(x, target.ctypes.data, COUNT), stream) == SUCCESS
    driver.ok("cuStreamSynchronize", stream)
    assert np.array_equal(target, numbers)


def test_a_transpose_through_shared_memory_has_no_race(driver):
    stream, source = driver.stream(), np.arange(40 * 70, dtype=np.float32).reshape(40, 70)
    x, y = driver.on_device(source, stream), driver.memory(source.nbytes)
    args = copying(x, y, source.size)
    args.ndim = 2
    args.shape[:2], args.src_stride[:2], args.dst_stride[:2] = (40, 70), (70, 1), (1, 40)
    assert driver.launch(driver.kernel("copy_transposed_4"), args, stream, grid=2 * 3) == SUCCESS
    assert np.array_equal(driver.numbers(y, source.size, stream).reshape(70, 40), source.T)
    assert driver.problems() == []


def test_the_module_has_every_kernel_of_the_catalogue(lazy):
    module = lazy.made("cuModuleLoadData", b"owl stand-in")
    assert len(KERNELS) > 20
    for name in KERNELS:
        lazy.made("cuModuleGetFunction", module, name.encode())
    there = ctypes.c_void_p()
    assert lazy.call("cuModuleGetFunction", ctypes.byref(there), module, b"copy") == NOT_FOUND
    lazy.ok("cuModuleUnload", module)
    assert lazy.call("cuModuleGetFunction", ctypes.byref(there), module, b"copy_f32_f32_i32") == INVALID_HANDLE


@pytest.mark.parametrize(
    "launch",
    [{"grid": 0}, {"grid": 1 << 31}, {"block": 0}, {"block": 1025}, {"shared": (48 << 10) + 1}],
    ids=lambda launch: str(next(iter(launch.items()))),
)
def test_launches_that_hardware_refuses(driver, launch):
    stream, x = driver.stream(), driver.memory(4)
    assert driver.launch(driver.kernel("copy_f32_f32_i32"), copying(x, x, 1), stream, **launch) == INVALID_VALUE
    assert driver.problems() == []


def test_a_block_that_the_kernel_is_not_written_for_is_told(driver):
    stream, x = driver.stream(), driver.memory(4)
    assert driver.launch(driver.kernel("copy_f32_f32_i32"), copying(x, x, 1), stream, block=128) == INVALID_VALUE
    [problem] = driver.problems()
    assert "copy_f32_f32_i32" in problem
    assert "256 threads" in problem
