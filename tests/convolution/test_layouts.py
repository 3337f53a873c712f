"""Values between convolutions may be kept in blocks of channels: nobody may see it, and no bit may change.

Without fusion every value is plain, so that is what a plan with blocks is compared with.
"""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
from agreement import DTYPES, same_bits
from hypothesis import example, given

import owl
import owl.conv as conv
import owl.elewise as ele
from owl.testing import kernel_delay, unfused

Net = dict[str, owl.NArray]

KERNELS = st.sampled_from([1, 3, 5])
# Around whole blocks of 16 channels; multiples of 32 can be divided into groups of whole blocks.
CHANNELS = st.sampled_from([1, 7, 8, 15, 16, 17, 24, 32, 33, 64])
POOLINGS = st.sampled_from([None, (2, 2, 2, 2, 0, 0), (3, 3, 2, 2, 1, 1), (2, 3, 1, 2, 0, 1)])


def net(
    dtype: type,
    channels: list[int],
    kernels: list[int],
    poolings: list[tuple[int, ...] | None],
    ops: list[conv.pool_op],
    groups: int,
) -> Net:
    """Two convolutions forward and backward, with what is on the way."""
    owl.seed(6)
    first, middle, last = channels
    x = owl.randn([13, 12, first, 3]).astype(dtype)
    groups = groups if middle % groups == 0 and last % groups == 0 else 1
    shapes = [[kernels[0], kernels[0], first, middle], [kernels[1], kernels[1], middle // groups, last]]
    weights = [owl.randn(shape, 0, 0.1).astype(dtype) for shape in shapes]
    biases = [owl.randn([n], 0, 0.1).astype(dtype) for n in (middle, last)]
    convolvers = [conv.Convolver(k // 2, k // 2, 1, 1, groups=g) for k, g in zip(kernels, (1, groups))]
    made: Net = {}

    def forward(i: int, data: owl.NArray) -> owl.NArray:
        made[f"a{i}"] = ele.relu(convolvers[i].ff(data, weights[i], biases[i]))
        pooling = poolings[i]
        made[f"p{i}"] = conv.Pooler(*pooling, ops[i]).ff(made[f"a{i}"]) if pooling else made[f"a{i}"]
        return made[f"p{i}"]

    def backward(i: int, gradient: owl.NArray, data: owl.NArray) -> owl.NArray:
        pooling, a = poolings[i], made[f"a{i}"]
        spread = conv.Pooler(*pooling, ops[i]).bp(gradient, made[f"p{i}"], a) if pooling else gradient
        made[f"d{i}"] = ele.relu_back(spread, a) if pooling or i else spread
        made[f"w{i}"] = convolvers[i].weight_grad(made[f"d{i}"], data, weights[i])
        made[f"b{i}"] = convolvers[i].bias_grad(made[f"d{i}"])
        made[f"e{i}"] = convolvers[i].bp(made[f"d{i}"], data, weights[i])
        return made[f"e{i}"]

    p1 = forward(1, p0 := forward(0, x))
    backward(0, backward(1, p1 * 0.5 - 0.1, p0), x)
    return made


def compare(record: Callable[[], list[owl.NArray]]) -> None:
    """The results of a recording that is run as a whole: its executor is busy until what need not be kept is gone."""

    def run() -> list[np.ndarray]:
        with kernel_delay(10_000):
            busy = owl.ones([1]) + 1
            busy.start_eval()
            results = record()
        owl.wait_for_all()  # one plan for all of them
        return [result.to_numpy() for result in results]

    blocked = run()
    with unfused():
        plain = run()
    for left, right in zip(blocked, plain, strict=True):
        same_bits(left, right)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    st.tuples(CHANNELS, CHANNELS, CHANNELS),
    st.tuples(KERNELS, KERNELS),
    st.tuples(POOLINGS, POOLINGS),
    st.tuples(*[st.sampled_from([conv.pool_op.max, conv.pool_op.avg])] * 2),
    st.sampled_from([1, 1, 2]),
    st.sets(st.sampled_from(["a0", "p0", "d0", "a1", "p1", "d1", "e1"]), max_size=2),
)
@example((1, 16, 32), (5, 5), ((2, 2, 2, 2, 0, 0),) * 2, (conv.pool_op.max,) * 2, 1, set())
@example((8, 17, 33), (3, 3), ((2, 2, 2, 2, 0, 0),) * 2, (conv.pool_op.max,) * 2, 1, set())
@example((8, 32, 64), (3, 3), ((3, 3, 2, 2, 1, 1), None), (conv.pool_op.max,) * 2, 2, set())
@example((8, 24, 24), (3, 5), (None, None), (conv.pool_op.max,) * 2, 1, set())
@example((8, 24, 24), (3, 5), (None, (2, 2, 2, 2, 0, 0)), (conv.pool_op.avg,) * 2, 2, {"p0"})
def test_no_bit_depends_on_blocks(dtype, channels, kernels, poolings, ops, groups, kept):
    def record() -> list[owl.NArray]:
        made = net(dtype, channels, kernels, poolings, ops, groups)
        return [made[name] for name in sorted({"w0", "b0", "w1", "b1", "e0"} | (kept & made.keys()))]

    compare(record)


@pytest.mark.parametrize("reader", ["exp", "sum", "slice", "product", "pooling", "normalization", "direct"])
def test_other_readers_get_plain_values(reader):
    """A convolution's result with one reader that could take blocks and one that could not."""
    owl.seed(8)
    x, w = owl.randn([12, 12, 16, 4]), owl.randn([3, 3, 16, 16], 0, 0.1)
    convolver, wide = conv.Convolver(1, 1, 1, 1), conv.Convolver(2, 2, 2, 2)
    readers = {
        "exp": ele.exp,
        "sum": lambda y: y.sum(2),
        "slice": lambda y: y[2:5],
        "product": lambda y: owl.ones([3, 12 * 12 * 16]) * y.reshape([12 * 12 * 16, 4]),
        "pooling": conv.Pooler(2, 2, 2, 2).ff,
        "normalization": conv.Lrner(3, 0.5, 0.5).ff,
        "direct": lambda y: wide.ff(y, w),
    }

    def record() -> list[owl.NArray]:
        y = convolver.ff(x, w)
        return [convolver.ff(y, w), readers[reader](y)]

    compare(record)


@pytest.mark.cpu_kernels("the blocked layout")
def test_explain_tells_which_values_are_in_blocks():
    x, w = owl.randn([12, 12, 16, 4]), owl.randn([3, 3, 16, 16], 0, 0.1)
    for array in (x, w):
        array.wait_for_eval()
    convolver = conv.Convolver(1, 1, 1, 1)
    y = convolver.ff(ele.relu(convolver.ff(x, w)), w)
    told = [line.strip() for line in owl.explain(y).splitlines() if "blocks of channels" in line]
    assert len(told) == 1
    assert told[0].startswith("v1 = relu(v0)")
    with unfused():
        assert "blocks" not in owl.explain(y)
