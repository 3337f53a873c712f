"""arithmetic.h gives a number the bits that it gives the lanes of a vector."""

import numpy as np
import pytest

import owl
import owl.elewise as ele
from owl import _runtime
from tests.agreement import same_bits

FUNCTIONS = {
    "exp": ele.exp,
    "log": ele.ln,
    "sigmoid": ele.sigm,
    "tanh": ele.tanh,
    "sqrt": ele.sqrt,
    "abs": ele.abs,
    "max": ele.maximum,
    "min": ele.minimum,
    "pow": ele.pow,
}

pytestmark = pytest.mark.skipif(
    _runtime.isa() == "generic",
    reason="this instruction set rounds twice where a multiplication and an addition are fused",
)


def numbers(dtype, seed):
    """Bit patterns of all kinds, and numbers of usual sizes."""
    rng = np.random.default_rng(seed)
    kind = np.uint32 if dtype == np.float32 else np.uint64
    patterns = rng.integers(0, np.iinfo(kind).max, 100_000, dtype=kind, endpoint=True).view(dtype)
    special = np.array([0.0, -0.0, 1, -1, 2, -3, 0.5, np.inf, -np.inf, np.nan], dtype)
    usual = (rng.standard_normal(100_000) * rng.choice([0.01, 1, 30], 100_000)).astype(dtype)
    return np.concatenate([rng.choice(special, 1000), patterns, usual])


def test_the_list_of_functions_is_complete(native):
    assert sorted(native.SCALAR_FUNCTIONS) == sorted(FUNCTIONS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_number_has_the_bits_of_a_lane(native, name, dtype):
    x, y = numbers(dtype, 1), numbers(dtype, 2)
    operands = (x, y) if name in ("max", "min", "pow") else (x,)
    vectors = FUNCTIONS[name](*(owl.from_numpy(operand, dtype=dtype) for operand in operands)).to_numpy()
    scalars = native.compute_scalars(name, x, y)
    same_bits(np.where(np.isnan(vectors), np.nan, vectors), np.where(np.isnan(scalars), np.nan, scalars))
    assert np.isnan(vectors).any()
