"""The checker: what has no order is told, whatever happened to run first; with the wait it is not."""

import itertools

import numpy as np
import pytest

from tests.gpu.contract.driving import SUCCESS, copying

COUNT = 500
ONES = np.ones(COUNT, np.float32)
NAMES = ("copy_f32_f32_i32", "cuMemcpyHtoDAsync_v2")


def upload_then_copy(driver):
    """A copy stream fills memory, which a kernel on another stream reads. The only wait is the first one."""
    copies, compute, event = driver.stream(), driver.stream(), driver.event()
    y, function = driver.memory(ONES.nbytes), driver.kernel("copy_f32_f32_i32")
    x = driver.on_device(ONES, copies)
    driver.ok("cuEventRecord", event, copies)
    driver.ok("cuStreamWaitEvent", compute, event, 0)
    assert driver.launch(function, copying(x, y, COUNT), compute) == SUCCESS
    return compute, x, y


def test_with_its_wait_there_is_nothing_to_tell(driver):
    compute, _, y = upload_then_copy(driver)
    assert np.array_equal(driver.numbers(y, COUNT, compute), ONES)
    assert driver.problems() == []


def test_without_its_wait_both_operations_are_named(driver):
    driver.skip_wait()
    upload_then_copy(driver)
    [problem] = driver.problems()
    assert all(name in problem for name in NAMES)
    assert driver.problems() == []  # each is told once


@pytest.mark.parametrize("wait", ["cuEventSynchronize", "cuStreamSynchronize", "cuEventQuery"])
@pytest.mark.parametrize("skipped", [False, True])
def test_a_wait_of_the_host_gives_an_order(driver, wait, skipped):
    first, second, event = driver.stream(), driver.stream(), driver.event()
    x = driver.on_device(ONES, first)
    driver.ok("cuEventRecord", event, first)
    if skipped:
        driver.skip_wait()
    while driver.call(wait, first if wait == "cuStreamSynchronize" else event) != SUCCESS:
        pass
    assert driver.waits() == 1
    assert driver.upload(x, ONES, second) == SUCCESS
    assert len(driver.problems()) == skipped


def test_reading_twice_needs_no_order(driver):
    first, second, third = (driver.stream() for _ in range(3))
    x = driver.on_device(ONES, first)
    driver.ok("cuStreamSynchronize", first)
    targets = [driver.pinned(COUNT) for _ in range(2)]
    assert driver.download(targets[0], x, first) == SUCCESS
    assert driver.download(targets[1], x, second) == SUCCESS
    assert driver.problems() == []
    assert driver.upload(x, ONES, third) == SUCCESS
    [problem] = driver.problems()
    assert "cuMemcpyDtoHAsync_v2" in problem
    driver.ok("cuCtxSynchronize")


def test_parts_of_a_block_are_told_apart(driver):
    first, second = driver.stream(), driver.stream()
    x = driver.memory(2 * ONES.nbytes)
    assert driver.upload(x, ONES, first) == SUCCESS
    assert driver.upload(x + ONES.nbytes, ONES, second) == SUCCESS
    assert driver.problems() == []
    function, y = driver.kernel("copy_f32_f32_i32"), driver.memory(ONES.nbytes)
    assert driver.launch(function, copying(x + ONES.nbytes, y, COUNT), second) == SUCCESS
    assert driver.problems() == []
    assert driver.launch(function, copying(x + ONES.nbytes - 4, y, COUNT), second) == SUCCESS
    assert len(driver.problems()) == 1


def test_what_was_done_to_the_rest_of_a_block_is_remembered(driver):
    first, second = driver.stream(), driver.stream()
    x = driver.on_device(np.ones(3 * COUNT, np.float32), first)
    assert driver.upload(x + ONES.nbytes, ONES, first) == SUCCESS
    for part in range(3):
        assert driver.upload(x + part * ONES.nbytes, ONES, second) == SUCCESS
        assert len(driver.problems()) == 1


def test_an_order_goes_through_a_third_stream(driver):
    streams, event = [driver.stream() for _ in range(3)], driver.event()
    x = driver.on_device(ONES, streams[0])
    for before, after in itertools.pairwise(streams):
        driver.ok("cuEventRecord", event, before)
        driver.ok("cuStreamWaitEvent", after, event, 0)
    assert driver.upload(x, ONES, streams[2]) == SUCCESS
    assert driver.problems() == []


def test_memory_is_freed_when_the_host_knows_that_it_is_not_used(driver):
    stream = driver.stream()
    for symbol in ("cuStreamSynchronize", None):
        x = driver.on_device(ONES, stream)
        if symbol:
            driver.ok(symbol, stream)
        driver.ok("cuMemFree_v2", x)
        assert len(driver.problems()) == (symbol is None)


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("waits", [False, True])
def test_the_host_waits_before_it_touches_pinned_memory(driver, written, waits):
    stream, pinned = driver.stream(), driver.pinned(COUNT)
    driver.host_access(pinned.ctypes.data, pinned.nbytes, True)
    x = driver.on_device(pinned, stream)
    if waits:
        driver.ok("cuStreamSynchronize", stream)
    driver.host_access(pinned.ctypes.data, pinned.nbytes, written)
    assert len(driver.problems()) == (written and not waits)
    assert driver.download(pinned, x, stream) == SUCCESS
    driver.host_access(pinned.ctypes.data, pinned.nbytes, False)
    assert len(driver.problems()) == 1


def test_other_memory_of_the_host_is_nothing_to_a_driver(driver):
    stream, host = driver.stream(), ONES.copy()
    driver.on_device(host, stream)
    driver.host_access(host.ctypes.data, host.nbytes, True)
    assert driver.problems() == []
