"""owl.explain says why kernels that read from each other are not one."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

import owl
from owl import conv, elewise
from owl._explain.splits import REASONS


@pytest.fixture(autouse=True)
def fused():
    was = (
        owl._runtime.set_fuse(True),
        owl._runtime.set_early_start(False),
    )  # what is recorded stays so, on slow machines too
    owl._runtime.set_random_windows(None)
    yield
    owl._runtime.set_fuse(was[0])
    owl._runtime.set_early_start(was[1])
    owl._runtime.set_random_windows(1 if os.environ.get("OWL_WINDOW") == "random" else None)


def array(*shape: int, dtype=np.float32) -> owl.NArray:
    return owl.from_numpy(np.full(shape[::-1], 0.5, dtype), dtype=dtype)


def reasons(result: owl.NArray) -> list[tuple[str, str]]:
    """The kernels that were not fused with those they read, and why."""
    found = []
    for kernel in re.split(r"(?m)^(?=  +kernel \d)", owl.explain(result))[1:]:
        name = re.match(r" +kernel \d+: (\w+)", kernel)[1]
        found += [(name, why) for why in re.findall(r"not fused with (.*)", kernel)]
    return found


def on_gpu() -> bool:
    return owl.get_device().name.startswith("gpu")


def test_a_fused_plan_has_nothing_to_say():
    assert reasons(elewise.relu(array(4, 3) * array(3, 5) + 1)) == []


def test_an_unfused_plan_has_nothing_to_say():
    owl._runtime.set_fuse(False)
    text = owl.explain(elewise.relu(array(4, 3) * array(3, 5) + 1))
    assert "3 operations in 3 kernels" in text
    assert "not fused" not in text


def test_products_and_softmaxes_read_whole_operands():
    hidden = elewise.relu(array(4, 3) * array(3, 5))
    assert reasons(conv.softmax(array(2, 4) * hidden)) == [
        ("gemm", "kernel 0: matmul reads whole operands, not element by element"),
        ("softmax", "kernel 1: softmax reads whole operands, not element by element"),
    ]


def test_kernels_of_one_reason_share_a_line():
    x = array(5, 5)
    assert reasons(elewise.exp(x) * x.sum(1).reshape([5, 1])) == [
        ("gemm", "kernels 0 and 1: matmul reads whole operands, not element by element")
    ]


def test_what_follows_a_softmax():
    assert reasons(conv.softmax(array(4, 6)) + 1) == [("elementwise", "kernel 0: nothing shares the pass of softmax")]


@pytest.mark.parametrize("reduce", [lambda x: x.sum(0), lambda x: x.sum(), lambda x: x.mean(1), lambda x: x.max(1)])
def test_reductions_that_share_no_pass(reduce):
    [(_, why)] = reasons(reduce(elewise.exp(array(6, 5))))
    assert why == "kernel 0: only a sum over the columns of a matrix shares the pass of its operand"


def test_row_sums_of_a_product():
    found = reasons((array(4, 3) * array(3, 5)).sum(1))
    wanted = [("reduce", "kernel 0: after a product, a sum over columns is a kernel of its own on a GPU")]
    assert found == (wanted if on_gpu() else [])


def test_what_reads_a_sum_of_the_same_pass():
    total = elewise.exp(array(6, 5)).sum(1)
    assert reasons(total * 2) == [("elementwise", "kernel 0: a sum is complete only when its kernel ends")]


def test_too_many_sums():
    x, totals = array(6, 5), []
    for _ in range(9):
        x = elewise.tanh(x)
        totals.append(x.sum(1))
    assert ("reduce", "kernel 0: too many sums for one kernel") in reasons(owl.concat(totals, 1))


def test_another_shape_and_dtype():
    row = elewise.exp(array(1, 5))
    assert reasons(array(6, 5) + row) == [("elementwise", "kernel 0: v0 is read in another shape than it is made in")]
    cast = elewise.exp(array(5)).astype(np.float64)
    assert reasons(cast) == [("elementwise", "kernel 0: a cast begins a kernel of its own")]


def test_two_products():
    x, y = array(4, 4) * array(4, 4), array(4, 4) * (array(4, 4) + 1)
    assert ("gemm", "kernel 0: a kernel has one product") in [
        (name, re.sub(r"kernel \d+", "kernel 0", why)) for name, why in reasons(x + y)
    ]


def test_programs_that_are_full():
    x = array(8)
    for k in range(60):
        x = elewise.tanh(x) if k % 2 else elewise.sigm(x)
    assert {why.partition(": ")[2] for _, why in reasons(x)} == {"too many operations for one kernel"}
    x = array(8)
    for _ in range(30):
        x = x + array(8)
    assert {why.partition(": ")[2] for _, why in reasons(x)} == {"too many inputs for one kernel"}


def test_a_kernel_between():
    x = elewise.exp(array(4, 4))
    assert ("elementwise", "a third kernel comes between them") in [
        (name, why.partition(": ")[2]) for name, why in reasons(conv.softmax(x) + x)
    ]


def test_a_slice():
    x = elewise.exp(array(6, 4))
    assert reasons(x[1:3]) == [("copy", "kernel 0: slice is a kernel of its own")]


def convolved() -> owl.NArray:
    return conv.Convolver(1, 1, 1, 1).ff(array(8, 8, 2, 1), array(3, 3, 2, 16), array(16))


def test_a_value_of_a_convolution_that_is_needed_elsewhere():
    y = convolved()
    z = elewise.relu(y)
    assert reasons(z) == [("elementwise", "kernel 0: v0 is needed elsewhere too")]
    del y
    assert reasons(z) == []


def test_what_a_convolution_takes():
    assert [why.partition(": ")[2] for _, why in reasons(elewise.tanh(convolved()))] == [
        "a convolution's pass takes a relu and a pooling alone"
    ]


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2)])
def test_a_pooling_after_a_convolution(window, stride):
    found = reasons(conv.Pooler(window, window, stride, stride).ff(elewise.relu(convolved())))
    wanted = [("pool_forward", "kernel 0: the convolution's kernel cannot pool in this way")]
    assert found == (wanted if on_gpu() and window == 3 else [])


def test_a_poolings_gradient():
    pooler, convolver = conv.Pooler(2, 2, 2, 2), conv.Convolver(1, 1, 1, 1)
    x, w = array(8, 8, 2, 1), array(3, 3, 2, 16)
    y = convolver.ff(x, w, array(16))
    pooled = pooler.ff(y)
    gradient = convolver.weight_grad(pooler.bp(pooled * 2, pooled, y), x, w)
    whys = [why.partition(": ")[2] for _, why in reasons(gradient)]
    assert ("the gradient of a pooling is a kernel of its own on a GPU" in whys) is on_gpu()


def test_every_reason_has_words():
    header = (Path(owl.__file__).parent / "_engine" / "plan" / "splits.h").read_text()
    names = re.findall(r"(?m)^    (\w+),", header.partition("enum class SplitReason")[2].partition("};")[0])
    assert len(names) == len(REASONS)


def test_kernels_say_where_they_run_if_there_are_several_devices():
    first, second = owl.create_cpu_device(), owl.create_cpu_device()
    with first:
        x = owl.ones([8]) + 1
    with second:
        text = owl.explain(x * 3)
    assert f"kernel 0 on {first.name}: " in text
    assert f"kernel 0 on {second.name}: " in text
    with first:
        assert f"kernel 0 on {first.name}" not in owl.explain(owl.ones([8]) + 1)
