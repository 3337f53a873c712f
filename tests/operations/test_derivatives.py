"""The derivatives in operations.def against differences in float64."""

import numpy as np
import pytest

import owl
from owl import _runtime, elewise
from owl.testing import oracles

TABLE = {name: (arity, derivatives) for name, arity, derivatives in _runtime.elementwise_table()}

# What makes an operation that has no function of its own in owl.elewise.
SPELLED = {
    "copy": lambda x: x.copy(),
    "neg": lambda x: -x,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": elewise.mult,
    "div": lambda x, y: x / y,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "sigm_diff": elewise.sigm_back,
    "tanh_diff": elewise.tanh_back,
}
# Where other numbers than those of a wide normal distribution are wanted.
POSITIVE = {("ln", 0), ("sqrt", 0), ("pow", 0), ("rsqrt", 0)}
FAR_FROM_ZERO = {("div", 1)}
STEP = 1e-5
OWN = {
    "relu_back": lambda g, x: np.where(x > 0, g, 0),
    "sigm_back": lambda g, r: g * (r * (1 - r)),
    "tanh_back": lambda g, r: g * (1 - r * r),
    "sigm": oracles["sigm"],
    "erf": oracles["erf"],
}


def compute(name, operands):
    function = SPELLED.get(name) or getattr(elewise, name)
    return function(*(owl.from_numpy(x, np.float64) for x in operands)).to_numpy()


def operands_of(name):
    """Numbers at which the operation is smooth: no two, nor one and 0, are within a difference of each other."""
    rng = np.random.default_rng(sum(map(ord, name)))
    arity = TABLE[name][0]
    grid = np.linspace(-3, 3, 301)[:, None] + 0.0031 * (1 + np.arange(arity))
    columns = [rng.permutation(grid[:, k]) for k in range(arity)]
    for k in range(arity):
        if (name, k) in POSITIVE:
            columns[k] = np.abs(columns[k]) + 0.01
        if (name, k) in FAR_FROM_ZERO:
            columns[k] += np.copysign(0.1, columns[k])
    return columns


def by_text(text, operands, result, gradient):
    """A derivative as the table writes it: owl's function names, over NumPy arrays."""
    names = dict(zip("xyz", operands, strict=False)) | {"r": result, "g": gradient}
    functions = {"where": np.where, "pow": np.power, "ln": np.log, "exp": np.exp, "maximum": np.maximum} | OWN
    with np.errstate(all="ignore"):
        return eval(text, {"__builtins__": {}}, names | functions) * np.ones_like(gradient)


@pytest.mark.parametrize("name", TABLE)
def test_every_operand_has_a_derivative_or_none(name):
    arity, derivatives = TABLE[name]
    assert len(derivatives) == arity


@pytest.mark.parametrize(("name", "k"), [(name, k) for name, (arity, _) in TABLE.items() for k in range(arity)])
def test_derivative_agrees_with_differences(name, k):
    operands = operands_of(name)
    result = compute(name, operands)
    gradient = np.linspace(0.5, 2, result.size)
    up, down = list(operands), list(operands)
    up[k], down[k] = operands[k] + STEP, operands[k] - STEP
    # A step to both sides: all is smooth there, so its error is of the order of the step's square.
    differences = gradient * (compute(name, up) - compute(name, down)) / (2 * STEP)
    text = TABLE[name][1][k]
    found = by_text(text, operands, result, gradient) if text else np.zeros_like(gradient)
    np.testing.assert_allclose(found, differences, rtol=1e-6, atol=1e-7)
