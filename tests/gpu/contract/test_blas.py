"""What we believe of cuBLAS: handles, their streams, and workspaces, on which the bits depend."""

import ctypes

import numpy as np
import pytest

from tests.gpu.contract.driving import SUCCESS

NOT_READY, INVALID, UNSUPPORTED = 1, 7, 15
WORKSPACE = 1 << 12
M, N, K = 5, 3, 4
A = np.arange(M * K, dtype=np.float32).reshape(K, M)  # column-major: NumPy's rows are columns
B = np.arange(K * N, dtype=np.float32).reshape(N, K)


def handle_of(driver, stream, workspace=None):
    handle = driver.made("cublasCreate_v2")
    driver.ok("cublasSetStream_v2", handle, stream)
    driver.ok("cublasSetWorkspace_v2", handle, workspace or driver.memory(WORKSPACE), WORKSPACE)
    return handle


def multiply(driver, handle, a, b, c, *, lda=M, transpose_b=0, compute=68, alpha=1.0):
    one, zero = ctypes.c_float(alpha), ctypes.c_float(0)
    small = [ctypes.c_int(x) for x in (0, transpose_b, M, N, K)]
    pointers = [ctypes.c_uint64(x) for x in (a, b, c)]
    return driver.library.cublasGemmEx(
        *(ctypes.c_uint64(handle), *small, ctypes.byref(one), pointers[0], 0, ctypes.c_int(lda), pointers[1], 0),
        *(K, ctypes.byref(zero), pointers[2], 0, M, compute, -1),
    )


def operands(driver, stream):
    return driver.on_device(A, stream), driver.on_device(B, stream), driver.memory(M * N * 4)


def test_a_product(driver):
    stream = driver.stream()
    a, b, c = operands(driver, stream)
    assert multiply(driver, handle_of(driver, stream), a, b, c) == SUCCESS
    assert np.array_equal(driver.numbers(c, M * N, stream), (B @ A).ravel())
    assert driver.problems() == []


def test_a_product_needs_a_workspace_of_its_own(driver):
    stream = driver.stream()
    handle = driver.made("cublasCreate_v2")
    driver.ok("cublasSetStream_v2", handle, stream)
    assert multiply(driver, handle, *operands(driver, stream)) == UNSUPPORTED
    [problem] = driver.problems()
    assert "workspace" in problem


def test_another_stream_takes_the_workspace_away(driver):
    stream = driver.stream()
    handle = handle_of(driver, stream)
    driver.ok("cublasSetStream_v2", handle, stream)
    assert multiply(driver, handle, *operands(driver, stream)) == UNSUPPORTED
    assert len(driver.problems()) == 1


def test_two_streams_cannot_share_a_workspace(driver):
    workspace = driver.memory(WORKSPACE)
    streams = [driver.stream(), driver.stream()]
    for stream in streams:
        assert multiply(driver, handle_of(driver, stream, workspace), *operands(driver, stream)) == SUCCESS
    [problem] = driver.problems()
    assert problem.count("cublasGemmEx") == 2


def test_operands_that_another_stream_writes(driver):
    stream, other = driver.stream(), driver.stream()
    a, b, c = operands(driver, stream)
    handle = handle_of(driver, stream)
    assert driver.upload(a, A, other) == SUCCESS
    driver.problems()
    assert multiply(driver, handle, a, b, c) == SUCCESS
    [problem] = driver.problems()
    assert "cublasGemmEx" in problem
    assert "cuMemcpyHtoDAsync_v2" in problem


@pytest.mark.parametrize("wrong", [{"lda": M - 1}, {"transpose_b": 3}])
def test_arguments_that_make_no_sense(driver, wrong):
    stream = driver.stream()
    assert multiply(driver, handle_of(driver, stream), *operands(driver, stream), **wrong) == INVALID
    assert len(driver.problems()) == 1


@pytest.mark.parametrize("other", [{"compute": 70}, {"alpha": 2.0}])
def test_what_the_stand_in_does_not_compute(driver, other):
    stream = driver.stream()
    assert multiply(driver, handle_of(driver, stream), *operands(driver, stream), **other) == UNSUPPORTED


def test_handles(driver):
    stream = driver.stream()
    handle = handle_of(driver, stream)
    memory = driver.memory(WORKSPACE)
    assert driver.call("cublasSetWorkspace_v2", handle, memory + 16, WORKSPACE - 16) == INVALID
    assert driver.call("cublasSetWorkspace_v2", handle, memory, 2 * WORKSPACE) == INVALID
    assert driver.call("cublasSetStream_v2", handle, 4711) == INVALID
    driver.ok("cublasDestroy_v2", handle)
    assert driver.call("cublasDestroy_v2", handle) == NOT_READY
    assert driver.call("cublasSetStream_v2", handle, stream) == NOT_READY
