"""What the planner makes of convolutions: how many kernels, and what happens when one of them fails."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from agreement import same_bits

import owl
import owl.conv as conv
import owl.elewise as ele
from owl import _runtime
from owl.testing import faults, unfused

POOLINGS = [(2, 2, 2, 2, 0, 0), (3, 3, 3, 3, 0, 0), (3, 3, 2, 2, 1, 1), (2, 3, 1, 2, 0, 1)]


def leaves() -> list[owl.NArray]:
    owl.seed(4)
    return [owl.randn([11, 10, 9, 5]), owl.randn([5, 5, 9, 20], 0, 0.1), owl.randn([20])]


def chain(pooling: tuple[int, ...], rectify: bool = True) -> dict[str, owl.NArray]:
    x, w, b = leaves()
    convolver, pooler = conv.Convolver(2, 2, 1, 1), conv.Pooler(*pooling)
    s = convolver.ff(x, w, b)
    a = ele.relu(s) if rectify else s
    p = pooler.ff(a)
    g = p * 0.5 - 0.1
    u = pooler.bp(g, p, a)
    d = ele.relu_back(u, a) if rectify else u
    results = {"x": convolver.bp(d, x, w), "w": convolver.weight_grad(d, x, w), "b": convolver.bias_grad(d)}
    return {"s": s, "a": a, "p": p, "u": u, "d": d, **results}


@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kept", ["", "s", "a", "p", "u", "d", "ad", "sp", "saud"])
def test_bits_do_not_depend_on_what_is_kept(pooling, kept, rectify):
    """Values that somebody still holds must exist, and fusion must leave them alone."""
    wanted = [*kept, "p", "x", "w", "b"]

    def run() -> list[np.ndarray]:
        made = chain(pooling, rectify)
        arrays = [made[name] for name in wanted]
        del made
        return [array.to_numpy() for array in arrays]

    expected = run()
    with unfused():
        plain = run()
    for left, right in zip(expected, plain):
        same_bits(left, right)


def kernels(program: Callable[[], owl.NArray]) -> list[str]:
    """The kernels of the plan that computes an array."""
    program().to_numpy()
    plan = json.loads(_runtime.explain_recent()[-1]["plan"])
    return [kernel["name"] for kernel in plan["kernels"]]


def test_convolution_relu_and_pooling_are_one_kernel():
    x, w, b = (array + 0 for array in leaves())
    owl.wait_for_all()
    convolver, pooler = conv.Convolver(2, 2, 1, 1), conv.Pooler(2, 2, 2, 2)
    assert kernels(lambda: pooler.ff(ele.relu(convolver.ff(x, w, b)))) == ["conv_forward"]
    assert kernels(lambda: ele.relu(convolver.ff(x, w, b))) == ["conv_forward"]
    assert kernels(lambda: pooler.ff(convolver.ff(x, w, b))) == ["conv_forward"]
    with unfused():
        assert len(kernels(lambda: pooler.ff(ele.relu(convolver.ff(x, w, b))))) == 3


@pytest.mark.parametrize("operation", ["conv_forward", "relu", "pool_forward", "pool_backward", "relu_back"])
def test_a_failure_reaches_everything_that_needs_it(operation):
    made = chain(POOLINGS[0])
    last = made["x"]
    del made
    with faults(operation), pytest.raises(owl.ExecutionError, match="a fault was injected"):
        last.to_numpy()


def test_a_failed_gradient_fails_what_spreads_it():
    x, w, b = leaves()
    convolver, pooler = conv.Convolver(2, 2, 1, 1), conv.Pooler(2, 2, 2, 2)
    p = pooler.ff(a := ele.relu(convolver.ff(x, w, b)))
    d = ele.relu_back(pooler.bp(ele.exp(p), p, a), a)
    filters = convolver.weight_grad(d, x, w)
    del a, d
    with faults("exp"), pytest.raises(owl.ExecutionError, match="exp"):
        filters.to_numpy()
    assert np.isfinite(p.to_numpy()).all()
