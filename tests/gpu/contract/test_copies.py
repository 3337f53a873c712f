"""When a copy reads and writes the host's memory, and what the memory of a device is."""

import ctypes

import numpy as np
import pytest

from tests.gpu.contract.driving import (
    INVALID_CONTEXT,
    INVALID_DEVICE,
    INVALID_VALUE,
    MEBIBYTE,
    OUT_OF_MEMORY,
    SUCCESS,
)

COUNT = 1000
ONES = np.ones(COUNT, np.float32)
AWAY = 1 << 60


def test_pageable_memory_is_read_at_the_call(driver):
    stream, x = driver.stream(), ONES.copy()
    address = driver.on_device(x, stream)
    x[:] = 9
    assert np.array_equal(driver.numbers(address, COUNT, stream), ONES)


def test_pinned_memory_is_read_when_the_copy_runs(lazy):
    stream, x = lazy.stream(), lazy.pinned(COUNT)
    x[:] = 1
    address = lazy.on_device(x, stream)
    x[:] = 9
    assert np.array_equal(lazy.numbers(address, COUNT, stream), np.full(COUNT, 9))


def test_a_copy_to_pageable_memory_ends_with_the_call(driver):
    stream = driver.stream()
    assert np.array_equal(driver.numbers(driver.on_device(ONES, stream), COUNT, stream), ONES)
    assert driver.waits() == 0


def test_parts_of_memory_are_copied(driver):
    stream = driver.stream()
    address = driver.on_device(np.arange(COUNT, dtype=np.float32), stream)
    assert driver.upload(address + 40, np.zeros(10, np.float32), stream) == SUCCESS
    wanted = np.arange(COUNT, dtype=np.float32)
    wanted[10:20] = 0
    assert np.array_equal(driver.numbers(address, COUNT, stream), wanted)


def two_devices(make):
    """A driver, its devices' contexts, the first one's stream, ones on the first and memory on the second."""
    driver = make(devices=2)
    first, second = driver.context(0), driver.context(1)
    stream = driver.stream()
    x = driver.on_device(ONES, stream)
    driver.ok("cuCtxPushCurrent_v2", second)
    return driver, first, second, stream, x, driver.memory(ONES.nbytes)


def test_memory_is_copied_between_devices(make):
    driver, first, second, stream, x, y = two_devices(make)
    driver.ok("cuMemcpyPeerAsync", y, second, x, first, ONES.nbytes, stream)
    assert np.array_equal(driver.numbers(y, COUNT, stream), ONES)
    assert driver.call("cuMemcpyPeerAsync", y, first, x, second, ONES.nbytes, stream) == INVALID_VALUE


PEER_UNSUPPORTED, PEER_ALREADY_ENABLED = 217, 704


def can_access(driver, device, peer):
    can = ctypes.c_int(-1)
    driver.ok("cuDeviceCanAccessPeer", ctypes.byref(can), device, peer)
    return can.value


@pytest.mark.parametrize("peers", [True, False])
def test_peers_are_as_they_were_chosen(make, peers):
    driver = make(devices=2, peers=peers)
    second = driver.context(1)
    assert [can_access(driver, *pair) for pair in ((0, 1), (1, 0), (0, 0))] == [peers, peers, 0]
    assert driver.call("cuDeviceCanAccessPeer", ctypes.byref(ctypes.c_int()), 0, 2) == INVALID_DEVICE
    for wanted in (SUCCESS, PEER_ALREADY_ENABLED):
        assert driver.call("cuCtxEnablePeerAccess", second, 0) == (wanted if peers else PEER_UNSUPPORTED)
    assert driver.call("cuCtxEnablePeerAccess", second, 1) == INVALID_VALUE
    assert driver.call("cuCtxEnablePeerAccess", driver.context(0), 0) == INVALID_CONTEXT


def test_copies_between_devices_are_counted_by_their_way(make):
    driver, first, second, stream, x, y = two_devices(make)
    driver.ok("cuMemcpyPeerAsync", y, second, x, first, ONES.nbytes, stream)
    assert driver.peer_copies() == (0, 1)
    driver.ok("cuCtxEnablePeerAccess", first, 0)
    driver.ok("cuMemcpyPeerAsync", y, second, x, first, ONES.nbytes, stream)
    driver.ok("cuMemcpyPeerAsync", x, first, x, first, ONES.nbytes, stream)
    assert driver.peer_copies() == (1, 1)
    assert np.array_equal(driver.numbers(y, COUNT, stream), ONES)


def test_new_memory_holds_nothing_that_was_there_before(driver):
    stream = driver.stream()
    assert np.isnan(driver.numbers(driver.memory(400), 100, stream)).all()


def test_the_host_cannot_follow_an_address_of_a_device(driver):
    assert driver.memory(4) >= AWAY


def test_copies_of_no_bytes_are_nothing(driver):
    driver.ok("cuMemcpyHtoDAsync_v2", 0, 0, 0, driver.stream())
    driver.ok("cuMemcpyDtoHAsync_v2", 0, 0, 0, driver.stream())


def test_a_device_has_so_much_memory_and_no_more(make):
    driver = make(memory=4 * MEBIBYTE)
    held = [driver.memory(MEBIBYTE) for _ in range(4)]
    free, total = np.zeros(1, np.uint64), np.zeros(1, np.uint64)
    driver.ok("cuMemGetInfo_v2", free.ctypes.data, total.ctypes.data)
    assert (free[0], total[0]) == (0, 4 * MEBIBYTE)
    assert driver.call("cuMemAlloc_v2", free.ctypes.data, 1) == OUT_OF_MEMORY
    driver.ok("cuMemFree_v2", held.pop())
    driver.memory(MEBIBYTE)


@pytest.mark.parametrize("beyond", ["its end", "a freed block", "an address of the host", "pinned memory in part"])
def test_a_copy_stays_within_one_block(driver, beyond):
    stream, host = driver.stream(), np.zeros(COUNT, np.float32)
    address = driver.memory(host.nbytes)
    if beyond == "its end":
        address += 4
    elif beyond == "a freed block":
        driver.ok("cuMemFree_v2", address)
    elif beyond == "an address of the host":
        address -= AWAY
    else:
        pinned = driver.pinned(COUNT)
        assert (
            driver.call("cuMemcpyHtoDAsync_v2", address, pinned.ctypes.data + 4, host.nbytes, stream) == INVALID_VALUE
        )
        return
    assert driver.upload(address, host, stream) == INVALID_VALUE
    assert driver.download(host, address, stream) == INVALID_VALUE


def test_memory_is_freed_once_and_at_its_beginning(driver):
    address, pinned = driver.memory(512), driver.pinned(4).ctypes.data
    for symbol, wrong in [("cuMemFree_v2", address + 256), ("cuMemFree_v2", pinned), ("cuMemFreeHost", address)]:
        assert driver.call(symbol, wrong) == INVALID_VALUE
    for symbol, right in [("cuMemFree_v2", address), ("cuMemFreeHost", pinned)]:
        assert driver.call(symbol, right) == SUCCESS
        assert driver.call(symbol, right) == INVALID_VALUE
        assert driver.call(symbol, 0) == SUCCESS
