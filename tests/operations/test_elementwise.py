"""Operators and owl.elewise against NumPy in float64."""

from __future__ import annotations

import operator

import hypothesis.strategies as st
import numpy as np
import pytest
from agreement import DTYPES, agree, array, broadcast_pair, shapes, values, wide
from hypothesis import given

import owl
import owl.elewise as ele
from owl.testing import oracles

UNARY = ["abs", "erf", "exp", "floor", "gelu", "isfinite", "ln", "relu", "rsqrt", "sigm", "sigm_back", "softplus"]
UNARY += ["sqrt", "tanh", "tanh_back"]
BINARY = ["leaky_relu", "maximum", "minimum", "mult", "pow", "relu_back", "sigm_back", "tanh_back"]
ARITHMETIC = [operator.add, operator.sub, operator.truediv]
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
ULPS = {"exp": 2, "ln": 2, "sigm": 4, "tanh": 4, "pow": 4, "sqrt": 0.5, "abs": 0, "relu": 0}  # as documented
ULPS |= {"erf": 2, "floor": 0, "gelu": 8, "rsqrt": 1.5, "softplus": 2}

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(DTYPES)
numbers = st.sampled_from([2, -3, 0.5, -1.25, 7, True])


def positive(name: str) -> float:
    return 0.05 if name in ("ln", "sqrt", "rsqrt", "pow") else -3.0


def test_every_function_of_elewise_has_an_oracle_and_is_tested():
    assert set(ele.__all__) == set(oracles) == {*UNARY, *BINARY, "where", "clip"}


@pytest.mark.parametrize("name", UNARY)
@given(shape=shapes(), seed=seeds, dtype=dtypes)
def test_functions_of_one_array(name, shape, seed, dtype):
    x = values(np.random.default_rng(seed), shape, dtype, low=positive(name))
    result = getattr(ele, name)(array(x))
    assert result.shape == shape
    agree(result, oracles[name](wide(x)), dtype, scale=1)


@pytest.mark.parametrize("name", BINARY)
@given(pair=broadcast_pair(), seed=seeds, dtype=dtypes)
def test_functions_of_two_arrays(name, pair, seed, dtype):
    rng = np.random.default_rng(seed)
    x, y = values(rng, pair[0], dtype, low=positive(name)), values(rng, pair[1], dtype)
    agree(getattr(ele, name)(array(x), array(y)), oracles[name](wide(x), wide(y)), dtype, scale=9)


@pytest.mark.parametrize("name", ["leaky_relu", "maximum", "minimum", "mult", "pow"])
@given(shape=shapes(), seed=seeds, dtype=dtypes, number=st.sampled_from([2, 0.5, 3.0]), swap=st.booleans())
def test_functions_of_an_array_and_a_number(name, shape, seed, dtype, number, swap):
    x = values(np.random.default_rng(seed), shape, dtype, low=positive(name))
    if swap:
        agree(getattr(ele, name)(number, array(x)), oracles[name](float(number), wide(x)), dtype)
    else:
        agree(getattr(ele, name)(array(x), number), oracles[name](wide(x), float(number)), dtype)


@given(shape=shapes(), seed=seeds, dtype=dtypes, low=numbers, high=numbers)
def test_clip(shape, seed, dtype, low, high):
    x = values(np.random.default_rng(seed), shape, dtype)
    agree(ele.clip(array(x), low, high), oracles["clip"](wide(x), low, high), dtype)


@given(pair=broadcast_pair(), seed=seeds, dtype=dtypes, number=st.booleans())
def test_where(pair, seed, dtype, number):
    rng = np.random.default_rng(seed)
    condition, y = rng.integers(0, 2, pair[0][::-1]).astype(dtype), values(rng, pair[1], dtype)
    if number:
        agree(ele.where(array(condition), array(y), 0.5), np.where(condition != 0, wide(y), 0.5), dtype)
    else:
        x = values(rng, pair[0], dtype)
        result = ele.where(array(condition), array(x), array(y))
        agree(result, np.where(condition != 0, wide(x), wide(y)), dtype)


@pytest.mark.parametrize("operation", ARITHMETIC + COMPARISONS, ids=lambda operation: operation.__name__)
@given(pair=broadcast_pair(), seed=seeds, dtype=dtypes, other=st.sampled_from(["owl", "left", "right"]))
def test_operators_between_owl_and_numpy_arrays(operation, pair, seed, dtype, other):
    rng = np.random.default_rng(seed)
    x, y = np.round(values(rng, pair[0], dtype)), np.round(values(rng, pair[1], dtype)) + dtype(0.0)
    if operation is operator.truediv:
        y += dtype(7)
    left = x if other == "left" else array(x)
    right = y if other == "right" else array(y)
    result = operation(left, right)
    assert isinstance(result, owl.NArray)
    agree(result, operation(wide(x), wide(y)).astype(np.float64), dtype)


KINDS_OF_NUMBER = {
    "int": int,
    "float": float,
    "float32": np.float32,
    "float64": np.float64,
    "int64": np.int64,
    "uint8": lambda n: np.uint8(abs(n)),
    "bool": bool,
    "numpy bool": np.bool_,
    "0-d": lambda n: np.array(n, np.float64),
    "0-d int": lambda n: np.array(n, np.int32),
}


@pytest.mark.parametrize("kind", KINDS_OF_NUMBER)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "operation", [*ARITHMETIC, *COMPARISONS, operator.mul], ids=lambda operation: operation.__name__
)
def test_operators_with_numbers_on_both_sides(operation, dtype, kind, rng):
    number = KINDS_OF_NUMBER[kind](2)
    x = np.round(values(rng, [7, 5], dtype)) + dtype(5)
    agree(operation(array(x), number), operation(wide(x), float(number)).astype(np.float64), dtype)
    agree(operation(number, array(x)), operation(float(number), wide(x)).astype(np.float64), dtype)


@given(shape=shapes(), seed=seeds, dtype=dtypes, power=st.sampled_from([0, 1, 2, 3, -1, 0.5]))
def test_powers(shape, seed, dtype, power):
    x = values(np.random.default_rng(seed), shape, dtype, low=0.1)
    agree(array(x) ** power, wide(x) ** power, dtype)
    agree(2.0 ** array(x), 2.0 ** wide(x), dtype)


@given(shape=shapes(), seed=seeds, dtype=dtypes)
def test_minus_plus_and_absolute(shape, seed, dtype):
    x = values(np.random.default_rng(seed), shape, dtype)
    agree(-array(x), -wide(x), dtype, ulps=0)
    agree(+array(x), wide(x), dtype, ulps=0)
    agree(abs(array(x)), abs(wide(x)), dtype, ulps=0)


@pytest.mark.parametrize("operation", [operator.iadd, operator.isub, operator.itruediv], ids=lambda o: o.__name__)
@given(shape=shapes(), seed=seeds, dtype=dtypes, kind=st.sampled_from(["owl", "numpy", "number"]))
def test_operators_in_place(operation, shape, seed, dtype, kind):
    rng = np.random.default_rng(seed)
    x, y = values(rng, shape, dtype), values(rng, shape, dtype, low=0.5)
    other = {"owl": array(y), "numpy": y, "number": 1.5}[kind]
    if kind == "numpy" and not shape:
        y = np.array(y)  # 0-d arrays count as numbers
    handle = array(x)
    result = operation(handle, other)
    assert result is handle
    agree(handle, operation(wide(x).copy(), 1.5 if kind == "number" else wide(y)), dtype, scale=3)


def test_mixed_dtypes_give_float64(rng):
    x, y = values(rng, [9, 3], np.float32), values(rng, [9, 3], np.float64)
    agree(array(x) + array(y), wide(x) + y, np.float64)
    agree(array(y) - array(x), y - wide(x), np.float64)
    agree(ele.mult(array(x), array(y)), wide(x) * y, np.float64)
    agree(array(x) < array(y), (wide(x) < y).astype(np.float64), np.float64)


def test_in_place_keeps_the_dtype(rng):
    x, y = values(rng, [9, 3], np.float32), values(rng, [9, 3], np.float64)
    handle = array(x)
    handle += array(y)
    agree(handle, wide(x) + y, np.float32, scale=3)


@given(shape=shapes(), seed=seeds, dtypes=st.tuples(dtypes, dtypes))
def test_astype(shape, seed, dtypes):
    x = values(np.random.default_rng(seed), shape, dtypes[0])
    result = array(x).astype(dtypes[1])
    assert result.dtype == dtypes[1]
    np.testing.assert_array_equal(result.to_numpy(), x.astype(dtypes[1]))


def ulp_error(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    rounded = exact.astype(found.dtype)
    near = np.isfinite(rounded) & np.isfinite(found)
    np.testing.assert_array_equal(found[~near], rounded[~near])
    return np.abs(found[near].astype(np.longdouble) - exact[near]) / np.spacing(np.abs(rounded[near]))


def _precise_tail(a: np.ndarray) -> np.ndarray:
    """The share of a normal distribution beyond a >= 0: a power series, and from 2 on a continued fraction."""
    density = np.exp(-a * a / 2) / np.sqrt(2 * np.longdouble("3.14159265358979323846264338327950288"))
    near, below = np.minimum(a, 2), np.zeros_like(a)
    term = near
    for n in range(3, 91, 2):
        below = below + term
        term = term * near * near / n
    far, fraction = np.maximum(a, 2), np.maximum(a, 2)
    for n in range(150, 0, -1):
        fraction = far + n / fraction
    return np.where(a < 2, 0.5 - density * below, density / fraction)


def _precise_erf(x: np.ndarray) -> np.ndarray:
    a, root = np.abs(x), np.sqrt(np.longdouble(2))
    term, total = a, np.zeros_like(a)
    for n in range(3, 121, 2):  # 2 a e^(-a^2) (1 + 2 a^2 / 3 + ...): nothing cancels
        total = total + term
        term = term * 2 * a * a / n
    near = total * np.exp(-a * a) * 2 / np.sqrt(np.longdouble("3.14159265358979323846264338327950288"))
    return np.copysign(np.where(a < 2, near, 1 - 2 * _precise_tail(a * root)), x)


def _precise_gelu(x: np.ndarray) -> np.ndarray:
    tail = _precise_tail(np.abs(x))
    return x * np.where(x < 0, tail, 1 - tail)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "ln", "sigm", "tanh", "sqrt", "rsqrt", "erf", "gelu", "softplus", "floor"])
def test_documented_units_in_the_last_place(name, dtype, rng):
    limit = 80 if dtype == np.float32 else 700
    x = np.concatenate(
        [
            rng.uniform(-limit, limit, 20000),
            rng.normal(0, 1, 20000),
            rng.normal(0, 1e-4, 5000),
            rng.choice([-1, 1], 5000) * np.exp(rng.uniform(-40, 3, 5000)),
            rng.uniform(-40, 10, 5000),
        ]
    ).astype(dtype)
    if name in ("ln", "sqrt", "rsqrt"):
        x = np.abs(x)
    precise = x.astype(np.longdouble)
    exact = {
        "exp": np.exp,
        "ln": np.log,
        "sqrt": np.sqrt,
        "tanh": np.tanh,
        "sigm": lambda x: 1 / (1 + np.exp(-x)),
        "rsqrt": lambda x: 1 / np.sqrt(x),
        "erf": _precise_erf,
        "gelu": _precise_gelu,
        "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        "floor": np.floor,
    }[name](precise)
    found = getattr(ele, name)(array(x)).to_numpy()
    normal = np.abs(exact) >= np.finfo(dtype).tiny
    worst = ulp_error(found[normal], exact[normal]).max()
    assert worst <= ULPS[name] + 0.01, f"{worst} units in the last place"


@pytest.mark.parametrize("dtype", DTYPES)
def test_documented_units_of_pow(dtype, rng):
    x = np.exp(rng.uniform(-8, 8, 30000)).astype(dtype)
    y = rng.uniform(-9, 9, 30000).astype(dtype)
    exact = x.astype(np.longdouble) ** y.astype(np.longdouble)
    normal = (exact > np.finfo(dtype).tiny) & (exact < np.finfo(dtype).max)
    worst = ulp_error(ele.pow(array(x), array(y)).to_numpy()[normal], exact[normal]).max()
    assert worst <= ULPS["pow"], f"{worst} units in the last place"


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 3.0, -3.0, np.inf, -np.inf, np.nan, 1e-45, 1e30, -1e30]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in UNARY if not name.endswith("_back")])
def test_special_values_of_functions(name, dtype):
    x = np.array(SPECIAL * 3, dtype)
    expected = oracles[name](wide(x))
    if name == "sigm":
        expected = 1 / (1 + np.exp(-wide(x)))
    tolerance = {"rtol": 1e-5, "atol": 1e-37} if dtype == np.float32 else {"rtol": 1e-13, "atol": 1e-300}
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(getattr(ele, name)(array(x)).to_numpy(), expected.astype(dtype), **tolerance)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*BINARY[:5], "add", "sub", "div", "lt", "ge", "eq", "ne"])
def test_special_values_of_pairs(name, dtype):
    x, y = (part.ravel().astype(dtype) for part in np.meshgrid(SPECIAL, SPECIAL))
    plain = {"add": operator.add, "sub": operator.sub, "div": operator.truediv}
    plain |= {name: getattr(operator, name) for name in ("lt", "ge", "eq", "ne")}
    ours = plain.get(name) or getattr(ele, name)
    theirs = plain.get(name) or {"mult": np.multiply, "pow": np.power}.get(name) or oracles[name]
    expected = theirs(x, y).astype(dtype)
    tolerance = {"rtol": 1e-6, "atol": 1e-37} if dtype == np.float32 else {"rtol": 1e-14, "atol": 1e-300}
    np.testing.assert_allclose(ours(array(x), array(y)).to_numpy(), expected, **tolerance)


@given(pair=broadcast_pair(), seed=seeds)
def test_operands_on_two_devices(devices, pair, seed):
    rng = np.random.default_rng(seed)
    x, y = values(rng, pair[0]), values(rng, pair[1])
    with devices[0]:
        left = array(x)
    with devices[1]:
        right = array(y) * 2
        result = left + right
    assert result.device == devices[1]
    agree(result, wide(x) + wide(y) * 2, np.float32, scale=9)
    agree(result.to(devices[0]) - left, wide(y) * 2 + wide(x) - wide(x), np.float32, scale=9)
