"""Convolutions under ``owl.set_matmul_precision("high")``: which ones are rounded, and which keep every bit."""

import pytest

CONVOLUTION = """
from owl.conv import Convolver, Pooler, pool_op

convolver = Convolver(pad_h=1, pad_w=1)
directions = {
    "forward": lambda x, w, y: convolver.ff(x, w),
    "backward_data": lambda x, w, y: convolver.bp(y, x, w),
    "filter": lambda x, w, y: convolver.weight_grad(y, x, w),
}

def arrays(c_in, c_out, dtype=np.float32, seed=0):  # NumPy's order is the other one
    rng = np.random.default_rng(seed)
    shapes = (2, c_in, 6, 5), (c_out, c_in, 3, 3), (2, c_out, 6, 5)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]

def compute(direction, precision, numbers):
    owl.set_matmul_precision(precision)
    with gpu:
        return directions[direction](*(owl.from_numpy(a, dtype=a.dtype) for a in numbers))

def is_rounded(direction, *channels, dtype=np.float32):
    numbers = arrays(*channels, dtype)
    exact, rounded = (compute(direction, p, numbers) for p in ("highest", "high"))
    text = owl.explain(rounded)
    assert "tf32" not in owl.explain(exact)
    same = exact.to_numpy().tobytes() == rounded.to_numpy().tobytes()
    assert same == (f"conv_{direction}_tf32" not in text), text
    return not same
"""


def test_many_channels_are_rounded(program):
    program(
        CONVOLUTION,
        """
    assert is_rounded("forward", 3, 17)
    assert not is_rounded("forward", 3, 16)
    assert is_rounded("backward_data", 17, 3)
    assert not is_rounded("backward_data", 16, 3)
    assert not is_rounded("filter", 20, 20)
    assert not is_rounded("forward", 3, 20, dtype=np.float64)
    assert not is_rounded("backward_data", 20, 3, dtype=np.float64)
    """,
    )


def test_the_result_is_close(program):
    # Against float64, which is not rounded: (1 + 2^-11)^2 (1 + 2^-23)^k - 1 of the sum of the products' sizes.
    program(
        CONVOLUTION,
        """
    for direction, channels, products in ("forward", (20, 30), 180), ("backward_data", (30, 20), 180):
        numbers = arrays(*channels)
        found = compute(direction, "high", numbers).to_numpy()
        exact = compute(direction, "high", [a.astype(float) for a in numbers]).to_numpy()
        sizes = compute(direction, "high", [abs(a.astype(float)) for a in numbers]).to_numpy()
        bound = (1 + 2**-11) ** 2 * (1 + 2**-23) ** products - 1
        assert np.all(np.abs(found - exact) <= (bound + products * 2**-52) * sizes)
        assert np.any(found != compute(direction, "highest", numbers).to_numpy())
    """,
    )


@pytest.mark.parametrize("window", [2, 3])
def test_bias_relu_and_pooling_stay_in_the_pass(program, window):
    program(
        CONVOLUTION,
        f"""
    pooler = Pooler({window}, {window}, {window}, {window}, op=pool_op.max)
    x, w, _ = arrays(5, 33)
    bias = np.linspace(-3, 3, 33, dtype=np.float32)

    def layers(see):
        with gpu:
            y = convolver.ff(*map(owl.from_numpy, (x, w, bias)))
            if see:
                y.wait_for_eval()
            y = ele.relu(y)
            if see:
                y.wait_for_eval()
            y = pooler.ff(y)
            return y, owl.explain(y)

    owl.set_matmul_precision("high")
    (fused, text), (separate, _) = layers(False), layers(True)
    assert "conv_forward_tf32" in text and "elementwise" not in text, text
    rounded = fused.to_numpy().tobytes()
    assert rounded == separate.to_numpy().tobytes()
    owl.set_matmul_precision("highest")
    assert layers(False)[0].to_numpy().tobytes() != rounded
    """,
    )


def test_each_convolution_keeps_the_precision_under_which_it_was_recorded(program):
    program(
        CONVOLUTION,
        """
    numbers = arrays(3, 20)
    expected = {p: compute("forward", p, numbers).to_numpy().tobytes() for p in ("highest", "high")}
    pending = [(p, compute("forward", p, numbers)) for p in ("highest", "high") * 5]
    owl.set_matmul_precision("highest")
    for precision, value in pending:
        assert value.to_numpy().tobytes() == expected[precision]
    """,
    )


def test_the_default_changes_no_plan(program):
    program(
        CONVOLUTION,
        """
    numbers = arrays(3, 20)
    compute("forward", "highest", numbers).to_numpy()
    before = owl.testing.planner_counters()
    for _ in range(3):
        compute("forward", "high", numbers).to_numpy()
        compute("forward", "highest", numbers).to_numpy()
    after = owl.testing.planner_counters()
    assert after["cached"] - before["cached"] == 1
    """,
    )
