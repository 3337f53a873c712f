"""What the planner makes of convolutions: how many kernels, and what happens when one of them fails."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
from agreement import DTYPES, same_bits
from hypothesis import given
from test_pooling import poolings

import owl
import owl.conv as conv
import owl.elewise as ele
from owl import _runtime
from owl.testing import faults, planner_counters, unfused

POOLINGS = [(2, 2, 2, 2, 0, 0), (3, 3, 3, 3, 0, 0), (3, 3, 2, 2, 1, 1), (2, 3, 1, 2, 0, 1)]


def leaves(images: int = 5) -> list[owl.NArray]:
    owl.seed(4)
    return [owl.randn([11, 10, 9, images]), owl.randn([5, 5, 9, 20], 0, 0.1), owl.randn([20])]


def chain(
    pooling: tuple[int, ...], rectify: bool = True, op: conv.pool_op = conv.pool_op.max, images: int = 5
) -> dict[str, owl.NArray]:
    x, w, b = leaves(images)
    convolver, pooler = conv.Convolver(2, 2, 1, 1), conv.Pooler(*pooling, op)
    s = convolver.ff(x, w, b)
    a = ele.relu(s) if rectify else s
    p = pooler.ff(a)
    g = p * 0.5 - 0.1
    u = pooler.bp(g, p, a)
    d = ele.relu_back(u, a) if rectify else u
    results = {"x": convolver.bp(d, x, w), "w": convolver.weight_grad(d, x, w), "b": convolver.bias_grad(d)}
    return {"s": s, "a": a, "p": p, "u": u, "d": d, **results}


@pytest.mark.parametrize("op", [conv.pool_op.max, conv.pool_op.avg])
@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kept", ["", "s", "a", "p", "u", "d", "ad", "sp", "saud"])
def test_bits_do_not_depend_on_what_is_kept(pooling, kept, rectify, op):
    """Values that somebody still holds must exist, and fusion must leave them alone."""
    wanted = [*kept, "p", "x", "w", "b"]

    def run() -> list[np.ndarray]:
        made = chain(pooling, rectify, op)
        arrays = [made[name] for name in wanted]
        del made
        owl.wait_for_all()  # one plan for all of them
        return [array.to_numpy() for array in arrays]

    expected = run()
    with unfused():
        plain = run()
    for left, right in zip(expected, plain):
        same_bits(left, right)


Recording = Callable[[], owl.NArray]


def kernels(prepare: Callable[[int], Recording]) -> list[str]:
    """The kernels of the plan that computes what a recording returns.

    A pause may cut a recording into windows, and the same one is then cut there again: another one gets its turn, with
    more images.
    """
    was = _runtime.set_early_start(False)  # an idle executor would cut, too, and on a busy machine it is often idle
    try:
        for images in range(5, 25):
            record = prepare(images)
            for _ in range(40):
                (owl.ones([3]) + 1).to_numpy()  # where few of the last windows were known, they go in pieces
            owl.wait_for_all()
            windows = planner_counters()["windows"]
            record().to_numpy()
            if planner_counters()["windows"] == windows + 1:
                break
        else:
            pytest.skip("what was recorded before has each of these recordings cut into several windows")
    finally:
        _runtime.set_early_start(was)
    _, _, plan = _runtime.explain_recent()[-1]
    return [kernel.name for kernel in plan.kernels]


def test_convolution_relu_and_pooling_are_one_kernel():
    convolver, pooler = conv.Convolver(2, 2, 1, 1), conv.Pooler(2, 2, 2, 2)

    def names(then: Callable[[owl.NArray], owl.NArray]) -> list[str]:
        def prepare(images: int) -> Recording:
            x, w, b = (array + 0 for array in leaves(images))
            return lambda: then(convolver.ff(x, w, b))

        return kernels(prepare)

    assert names(lambda y: pooler.ff(ele.relu(y))) == ["conv_forward"]
    assert names(ele.relu) == ["conv_forward"]
    assert names(pooler.ff) == ["conv_forward"]
    with unfused():
        assert len(names(lambda y: pooler.ff(ele.relu(y)))) == 3


BACKWARD = ["conv_backward_data", "conv_backward_filter"]


@pytest.mark.cpu_kernels("what shares a convolution's pass")
@pytest.mark.parametrize(
    ("op", "rectify", "forward"),
    [
        (conv.pool_op.max, True, ["conv_forward"]),
        (conv.pool_op.max, False, ["conv_forward"]),
        (conv.pool_op.avg, True, ["conv_forward", "pool_forward"]),  # the relu's result is the gradient's mask
        (conv.pool_op.avg, False, ["conv_forward"]),
    ],
)
def test_a_spread_gradient_does_not_go_through_memory(op, rectify, forward):
    def prepare(images: int) -> Recording:
        def total() -> owl.NArray:
            made = chain(POOLINGS[1], rectify, op, images)
            return sum((made[name].reshape([made[name].size]).sum(0) for name in "xwb"), owl.zeros([1]))

        return total

    names = [name for name in kernels(prepare) if name.startswith(("conv", "pool", "relu"))]
    assert sorted(names) == sorted([*forward, *BACKWARD])
    with unfused():
        names = kernels(prepare)
    assert names.count("pool_backward") == 1
    assert names.count("conv_backward_filter") == 2


@pytest.mark.parametrize("dtype", DTYPES)
@given(poolings(), st.sampled_from([3, 5]), st.booleans(), st.booleans(), st.integers(0, 1000))
def test_bits_do_not_depend_on_fusion(dtype, drawn, kernel, rectify, other_mask, seed):
    """Any pooling over a convolution, by the direct algorithm and by Winograd's, with any mask on the gradient."""
    pooling, (images, channels, *size) = drawn
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal((images, 9, *size)), rng.standard_normal((channels, 9, kernel, kernel))]
    data, filters = (owl.from_numpy(array, dtype) for array in arrays)
    mask = owl.from_numpy(rng.standard_normal((images, channels, *size)), dtype)
    convolver, pooler = conv.Convolver(kernel // 2, kernel // 2, 1, 1), pooling.pooler()

    def run() -> list[np.ndarray]:
        a = convolver.ff(data, filters, owl.zeros([channels], dtype))
        if rectify:
            a = ele.relu(a)
        p = pooler.ff(a)
        d = pooler.bp(p * 0.5 - 0.25, p, a)
        if rectify:
            d = ele.relu_back(d, mask if other_mask else a)
        results = [convolver.bp(d, data, filters), convolver.weight_grad(d, data, filters), convolver.bias_grad(d), p]
        del a, d
        owl.wait_for_all()  # one plan for all of them
        return [result.to_numpy() for result in results]

    fused = run()
    with unfused():
        plain = run()
    for left, right in zip(fused, plain, strict=True):
        same_bits(left, right)


@pytest.mark.cpu_kernels("what shares a convolution's pass")
def test_the_gradient_of_a_mean_needs_no_forward_pass():
    """The pooling may have run long ago; of a mean, the gradient alone is spread."""
    convolver, pooler = conv.Convolver(1, 1, 1, 1), conv.Pooler(2, 2, 2, 2, op=conv.pool_op.avg)

    def prepare(images: int) -> Recording:
        owl.seed(9)
        a, w = owl.randn([8, 6, 12, images]), owl.randn([3, 3, 10, 12])
        p = pooler.ff(a)
        g, x = p * 2, owl.zeros([8, 6, 10, images])
        owl.wait_for_all()
        return lambda: convolver.bp(ele.relu_back(pooler.bp(g, p, a), a), x, w)

    assert kernels(prepare) == ["conv_backward_data"]
    fused = prepare(3)().to_numpy()
    with unfused():
        same_bits(fused, prepare(3)().to_numpy())


@pytest.mark.parametrize("op", [conv.pool_op.max, conv.pool_op.avg])
@pytest.mark.parametrize("operation", ["conv_forward", "relu", "pool_forward", "pool_backward", "relu_back"])
def test_a_failure_reaches_everything_that_needs_it(operation, op):
    made = chain(POOLINGS[0], op=op)
    last = made["x"]
    del made
    with faults(operation), pytest.raises(owl.ExecutionError, match="a fault was injected"):
        last.to_numpy()


@pytest.mark.parametrize("op", [conv.pool_op.max, conv.pool_op.avg])
def test_a_failed_gradient_fails_what_spreads_it(op):
    x, w, b = leaves()
    convolver, pooler = conv.Convolver(2, 2, 1, 1), conv.Pooler(2, 2, 2, 2, op=op)
    p = pooler.ff(a := ele.relu(convolver.ff(x, w, b)))
    d = ele.relu_back(pooler.bp(ele.exp(p), p, a), a)
    filters = convolver.weight_grad(d, x, w)
    del a, d
    with faults("exp"), pytest.raises(owl.ExecutionError, match="exp"):
        filters.to_numpy()
    assert np.isfinite(p.to_numpy()).all()


def gradients(convolver: conv.Convolver, pooler: conv.Pooler, arrays: list[np.ndarray], which: str) -> np.ndarray:
    """One gradient through a pooling, from leaves: no other kernel of its plan reserves memory."""
    x, w, a, g = (owl.from_numpy(array) for array in arrays)
    p = pooler.ff(a)
    p.wait_for_eval()
    s = ele.relu_back(pooler.bp(g, p, a), a)
    if which == "data":
        return convolver.bp(s, x, w).to_numpy()
    return (convolver.weight_grad(s, x, w) if which == "filter" else convolver.bias_grad(s)).to_numpy()


@pytest.mark.parametrize("which", ["data", "filter", "bias"])
@pytest.mark.parametrize("op", [conv.pool_op.max, conv.pool_op.avg])
@pytest.mark.parametrize(
    ("groups", "size", "kernel", "pad", "window"),
    [
        (4, (2, 2), (1, 1), (40, 5), (8, 8)),  # once, a pooled gradient had more rows than the block it was spread in
        (4, (5, 3), (3, 2), (30, 0), (2, 2)),
        (2, (300_001, 1), (3, 1), (0, 0), (2, 1)),  # once, more rows than a cache holds were two strips of one image
        (1, (300_001, 1), (3, 1), (0, 0), (2, 1)),
    ],
)
def test_poolings_of_far_more_rows_than_the_data_has_or_a_cache_holds(
    groups, size, kernel, pad, window, op, which, rng
):
    convolver = conv.Convolver(*pad, 1, 1, groups=groups)
    pooler = conv.Pooler(*window, *window, op=op)
    rows, columns = (n + 2 * p - k + 1 for n, p, k in zip(size, pad, kernel))
    pooled = [-(-n // k) for n, k in zip((rows, columns), window)]
    shapes = [(1, groups, *size), (groups, 1, *kernel), (1, groups, rows, columns), (1, groups, *pooled)]
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    found = gradients(convolver, pooler, arrays, which)
    with unfused():
        same_bits(gradients(convolver, pooler, arrays, which), found)
