"""CUDA graphs: their own order alone, arguments that are taken when they are given, and what cannot be a graph."""

import ctypes

import numpy as np
import pytest

from tests.gpu.contract.driving import INVALID_HANDLE, INVALID_VALUE, SUCCESS, copying

COUNT = 300
ONES = np.ones(COUNT, np.float32)


@pytest.fixture
def copies(driver):
    """Three arrays, all different, and nodes that copy one to another."""
    stream, function = driver.stream(), driver.kernel("copy_f32_f32_i32")
    arrays = [driver.on_device(np.full(COUNT, value, np.float32), stream) for value in (1, 2, 3)]

    def node(source, target):
        return driver.parameters(function, copying(arrays[source], arrays[target], COUNT), grid=2)

    return stream, arrays, node


def test_nodes_come_in_the_order_of_their_dependencies(driver, copies):
    stream, arrays, node = copies
    chain, _ = driver.graph((node(0, 1), []), (node(1, 2), [0]))
    for _ in range(3):
        driver.ok("cuGraphLaunch", chain, stream)
    assert np.array_equal(driver.numbers(arrays[2], COUNT, stream), ONES)


def test_a_missing_dependency_is_found(make):
    for seed in range(6):
        driver = make(seed=seed)
        stream, function = driver.stream(), driver.kernel("copy_f32_f32_i32")
        x, y, z = (driver.on_device(ONES, stream) for _ in range(3))
        first, second = (driver.parameters(function, copying(*pair, COUNT), grid=2) for pair in ((x, y), (y, z)))
        graph, _ = driver.graph((first, []), (second, []))
        driver.ok("cuGraphLaunch", graph, stream)
        driver.ok("cuCtxSynchronize")
        assert any("nothing orders them" in text for text in driver.problems())


def test_nodes_that_both_only_read_need_no_order(driver, copies):
    stream, arrays, node = copies
    graph, _ = driver.graph((node(0, 1), []), (node(0, 2), []))
    driver.ok("cuGraphLaunch", graph, stream)
    assert np.array_equal(driver.numbers(arrays[2], COUNT, stream), ONES)


def test_a_graph_comes_after_what_is_in_its_stream_and_before_what_follows(driver, copies):
    stream, arrays, node = copies
    graph, _ = driver.graph((node(0, 1), []), (node(1, 2), [0]))
    assert driver.upload(arrays[0], np.full(COUNT, 7, np.float32), stream) == SUCCESS
    driver.ok("cuGraphLaunch", graph, stream)
    assert driver.upload(arrays[0], ONES, stream) == SUCCESS
    driver.ok("cuGraphLaunch", graph, stream)
    assert np.array_equal(driver.numbers(arrays[2], COUNT, stream), ONES)


def test_new_arguments_are_for_later_launches(driver, copies):
    stream, arrays, node = copies
    graph, nodes = driver.graph((node(0, 2), []))
    driver.ok("cuGraphLaunch", graph, stream)
    other = node(2, 1)
    driver.ok("cuGraphExecKernelNodeSetParams_v2", graph, nodes[0], ctypes.byref(other))
    ctypes.memset(ctypes.addressof(other.kept[0]), 0, ctypes.sizeof(other.kept[0]))  # they were copied
    assert np.array_equal(driver.numbers(arrays[2], COUNT, stream), ONES)
    assert np.array_equal(driver.numbers(arrays[1], COUNT, stream), 2 * ONES)
    driver.ok("cuGraphLaunch", graph, stream)
    assert np.array_equal(driver.numbers(arrays[1], COUNT, stream), ONES)


def test_a_graph_that_is_destroyed_under_way_goes_on(driver, copies):
    stream, arrays, node = copies
    graph, _ = driver.graph((node(0, 1), []), (node(1, 2), [0]))
    driver.ok("cuGraphLaunch", graph, stream)
    driver.ok("cuGraphExecDestroy", graph)
    assert np.array_equal(driver.numbers(arrays[2], COUNT, stream), ONES)
    assert driver.call("cuGraphLaunch", graph, stream) == INVALID_HANDLE
    assert driver.call("cuGraphExecDestroy", graph) == INVALID_HANDLE


def test_what_is_refused(driver, copies):
    stream, _, node = copies
    graph, nodes = driver.graph((node(0, 1), []))
    _, foreign = driver.graph((node(0, 2), []))
    wrong = node(0, 1)
    wrong.grid_x = 0
    refused = [
        driver.call("cuGraphExecKernelNodeSetParams_v2", graph, nodes[0], ctypes.byref(wrong)),
        driver.call("cuGraphExecKernelNodeSetParams_v2", graph, foreign[0], ctypes.byref(node(0, 1))),
        driver.call("cuGraphCreate", ctypes.byref(ctypes.c_uint64()), 1),
    ]
    assert refused == [INVALID_VALUE] * 3
    driver.ok("cuGraphLaunch", graph, stream)
    driver.ok("cuCtxSynchronize")
