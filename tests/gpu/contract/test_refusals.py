"""What a driver refuses, and how it fails when a test wants it to."""

import ctypes
import threading

import numpy as np
import pytest

from tests.gpu.contract.driving import (
    ILLEGAL_ADDRESS,
    INVALID_CONTEXT,
    INVALID_DEVICE,
    INVALID_HANDLE,
    INVALID_IMAGE,
    INVALID_VALUE,
    NO_DEVICE,
    NOT_INITIALIZED,
    OUT_OF_MEMORY,
    SUCCESS,
    copying,
)

COUNT = 64


def test_nothing_works_before_cuInit(unconfigured):
    value = ctypes.c_uint64()
    assert unconfigured.call("cuDeviceGetCount", ctypes.byref(value)) == NOT_INITIALIZED
    assert unconfigured.call("cuDevicePrimaryCtxRetain", ctypes.byref(value), 0) == NOT_INITIALIZED
    assert unconfigured.call("cuDriverGetVersion", ctypes.byref(value)) == SUCCESS
    assert value.value >= 12000


def test_a_machine_without_devices(unconfigured):
    assert unconfigured.configured(devices=0).call("cuInit", 0) == NO_DEVICE


def test_devices_have_numbers_from_0(make):
    driver, value = make(devices=3), ctypes.c_int()
    driver.ok("cuDeviceGetCount", ctypes.byref(value))
    assert value.value == 3
    assert driver.call("cuDeviceGet", ctypes.byref(value), 2) == SUCCESS
    assert driver.call("cuDeviceGet", ctypes.byref(value), 3) == INVALID_DEVICE
    assert len({driver.context(k) for k in range(3)}) == 3
    assert driver.context(1) == driver.context(1)


def test_a_thread_needs_a_current_context(driver):
    answers = []

    def on_another_thread():
        value = ctypes.c_uint64()
        answers.append(driver.call("cuMemAlloc_v2", ctypes.byref(value), 4))
        answers.append(driver.call("cuStreamSynchronize", stream))
        answers.append(driver.call("cuCtxPopCurrent_v2", ctypes.byref(value)))
        driver.ok("cuCtxPushCurrent_v2", driver.context(0))
        answers.append(driver.call("cuStreamSynchronize", stream))

    stream = driver.stream()
    thread = threading.Thread(target=on_another_thread)
    thread.start()
    thread.join()
    assert answers == [INVALID_CONTEXT, INVALID_CONTEXT, INVALID_CONTEXT, SUCCESS]


def test_contexts_are_a_stack(make):
    driver, value = make(devices=2), ctypes.c_uint64()
    first, second = driver.context(0), driver.context(1)
    driver.ok("cuCtxPushCurrent_v2", second)
    assert driver.made("cuCtxGetCurrent") == second
    driver.ok("cuCtxPopCurrent_v2", ctypes.byref(value))
    assert (value.value, driver.made("cuCtxGetCurrent")) == (second, first)
    driver.ok("cuCtxSetCurrent", second)
    assert driver.made("cuCtxGetCurrent") == second
    driver.ok("cuCtxSetCurrent", 0)
    assert driver.made("cuCtxGetCurrent") == 0
    driver.ok("cuCtxSetCurrent", first)


def test_handles_that_are_gone_are_refused(driver):
    stream, event = driver.stream(), driver.event()
    driver.ok("cuStreamDestroy_v2", stream)
    driver.ok("cuEventDestroy_v2", event)
    assert driver.call("cuEventRecord", driver.event(), stream) == INVALID_HANDLE
    assert driver.call("cuEventRecord", event, driver.stream()) == INVALID_HANDLE
    assert driver.call("cuStreamSynchronize", 0) == INVALID_HANDLE
    assert driver.call("cuEventQuery", event) == INVALID_HANDLE


def test_an_event_is_recorded_in_streams_of_its_own_context(make):
    driver = make(devices=2)
    stream = driver.stream()
    driver.ok("cuCtxPushCurrent_v2", driver.context(1))
    event = driver.event()
    assert driver.call("cuEventRecord", event, stream) == INVALID_HANDLE
    assert driver.call("cuStreamWaitEvent", stream, event, 0) == SUCCESS


def test_other_images_are_refused(driver):
    module = ctypes.c_void_p()
    assert driver.call("cuModuleLoadData", ctypes.byref(module), b"\x7fELF") == INVALID_IMAGE


def test_errors_have_names(driver):
    name, text = ctypes.c_char_p(), ctypes.c_char_p()
    driver.ok("cuGetErrorName", 700, ctypes.byref(name))
    driver.ok("cuGetErrorString", 700, ctypes.byref(text))
    assert name.value == b"CUDA_ERROR_ILLEGAL_ADDRESS"
    assert text.value == b"an illegal memory access was encountered"
    assert driver.call("cuGetErrorName", 12345, ctypes.byref(name)) == INVALID_VALUE


def test_a_symbol_fails_once_when_asked_to(driver):
    value = ctypes.c_uint64()
    driver.fail("cuMemAlloc_v2", 2, OUT_OF_MEMORY)
    answers = [driver.call("cuMemAlloc_v2", ctypes.byref(value), 64) for _ in range(3)]
    assert answers == [SUCCESS, OUT_OF_MEMORY, SUCCESS]
    assert driver.calls("cuMemAlloc_v2") == 3
    assert driver.calls("cuMemFree_v2") == 0


@pytest.mark.parametrize("how", ["asked for", "an address of the host", "beyond a block", "memory of another device"])
def test_a_fault_fails_every_later_call(make, how):
    driver = make(devices=2)
    stream, event, host = driver.stream(), driver.event(), np.ones(COUNT, np.float32)
    x, y = driver.on_device(host, stream), driver.memory(host.nbytes)
    if how == "asked for":
        driver.break_launch()
    elif how == "an address of the host":
        x = host.ctypes.data
    elif how == "beyond a block":
        x += 4
    else:
        driver.ok("cuCtxPushCurrent_v2", driver.context(1))
        x = driver.memory(host.nbytes)
        driver.ok("cuCtxPopCurrent_v2", None)
    assert driver.launch(driver.kernel("copy_f32_f32_i32"), copying(x, y, COUNT), stream) == SUCCESS
    recorded = driver.call("cuEventRecord", event, stream)
    assert recorded in (SUCCESS, ILLEGAL_ADDRESS)  # the fault may be known by then
    for _ in range(2):
        assert driver.call("cuEventSynchronize", event) == ILLEGAL_ADDRESS
        assert driver.download(host, y, stream) == ILLEGAL_ADDRESS
        assert driver.call("cuMemAlloc_v2", ctypes.byref(ctypes.c_uint64()), 4) == ILLEGAL_ADDRESS
    told = driver.problems()
    assert len(told) == (how != "asked for")
    assert all("copy_f32_f32_i32" in problem for problem in told)


PROGRAM = """
import ctypes, os, sys
from pathlib import Path
from tests.gpu.contract.driving import Driver, NOT_INITIALIZED, SUCCESS
driver = Driver(Path(sys.argv[1])).started(lazy=sys.argv[2] == "lazy")
stream = driver.stream()
child = os.fork()
if not child:
    there = ctypes.c_uint64()
    calls = [("cuInit", 0), ("cuStreamSynchronize", stream), ("cuMemAlloc_v2", ctypes.byref(there), 4)]
    os._exit(not all(driver.call(*call) == NOT_INITIALIZED for call in calls))
assert os.waitpid(child, 0)[1] == 0
assert driver.call("cuStreamSynchronize", stream) == SUCCESS
"""


@pytest.mark.parametrize("way", ["lazy", "threads"])
def test_a_forked_child_is_refused(python, path, way):
    done = python(PROGRAM, str(path), way)
    assert done.returncode == 0, done.stderr
