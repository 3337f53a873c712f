"""The matrix product and products with transposes, against NumPy in float64."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from agreement import DTYPES, agree, array, same_bits, values, wide
from hypothesis import given

import owl

sizes = st.sampled_from([0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 48, 65, 100, 130])
seeds = st.integers(0, 2**32 - 1)


@given(m=sizes, n=sizes, k=sizes, seed=seeds, dtype=st.sampled_from(DTYPES), left=st.booleans(), right=st.booleans())
def test_products_of_matrices_and_transposes(m, n, k, seed, dtype, left, right):
    rng = np.random.default_rng(seed)
    a, b = values(rng, [m, k], dtype), values(rng, [k, n], dtype)
    x = array(a.T).trans() if left else array(a)
    y = array(b.T).trans() if right else array(b)
    product = x * y
    assert product.shape == [m, n]
    agree(product, wide(b) @ wide(a), dtype, terms=max(1, k), scale=9 * max(1, k) ** 0.5)


def test_at_is_the_product_of_two_matrices(rng):
    a, b = values(rng, [5, 7]), values(rng, [7, 3])
    x, y = array(a), array(b)
    same_bits((x @ y).to_numpy(), (x * y).to_numpy())
    same_bits((y.T @ x.T).to_numpy(), (y.trans() * x.trans()).to_numpy())
    handle = z = array(values(rng, [5, 5]))
    expected = (z * z).to_numpy()
    z @= z
    assert z is handle
    same_bits(z.to_numpy(), expected)
    assert (x @ array(b.astype(np.float64))).dtype == np.float64


@pytest.mark.parametrize("other", [2, 0.5, np.float32(2), np.ones((3, 4), np.float32), np.ones(4)])
def test_at_of_anything_else_names_the_operator_that_takes_it(other):
    x = owl.zeros([3, 4])
    for product in (lambda: x @ other, lambda: other @ x):
        with pytest.raises(owl.OwlTypeError, match=r"\[@\] .* \*"):
            product()


def test_at_of_other_shapes_raises():
    with pytest.raises(owl.ShapeError, match=r"two matrices, as \* does, not shapes \[3\] and \[3, 3\]"):
        owl.zeros([3]) @ owl.zeros([3, 3])
    with pytest.raises(owl.ShapeError, match=r"\[@\] .* \[3, 2\] and \[3, 3\] does not exist"):
        owl.zeros([3, 2]) @ owl.zeros([3, 3])
    with pytest.raises(TypeError, match="unsupported operand"):
        owl.zeros([3, 3]) @ "text"


def test_t_is_the_transpose_of_a_matrix(rng):
    a = values(rng, [5, 7])
    same_bits(array(a).T.to_numpy(), np.ascontiguousarray(a.T))
    for shape in ([], [3], [2, 3, 4]):
        with pytest.raises(owl.ShapeError, match="trans"):
            owl.zeros(shape).T  # noqa: B018


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("m", "n", "k"), [(256, 256, 784), (10, 256, 256), (300, 1, 300), (1, 300, 2000), (513, 257, 129)]
)
def test_products_that_span_blocks_and_threads(m, n, k, dtype, rng):
    a, b = values(rng, [m, k], dtype), values(rng, [k, n], dtype)
    agree(array(a) * array(b), wide(b) @ wide(a), dtype, terms=k, scale=9 * k**0.5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n", "k"), [(513, 300, 1024), (33, 1000, 2048), (64, 241, 512)])
def test_columns_that_share_cache_sets(m, n, k, dtype, rng):
    """4 KB apart, they are packed, and the other operand as a whole before; neither that nor an order shows."""
    a, b, bias = values(rng, [m, k], dtype), values(rng, [k, n], dtype), values(rng, [m, 1], dtype)
    product = array(a) * array(b)
    agree(product, wide(b) @ wide(a), dtype, terms=k, scale=9 * k**0.5)
    for x in (array(a), array(np.ascontiguousarray(a.T)).trans()):
        for y in (array(b), array(np.ascontiguousarray(b.T)).trans()):
            same_bits((x * y).to_numpy(), product.to_numpy())
            rectified = owl.elewise.relu(x * y + array(bias))
            total = rectified.sum(1)
            expected = np.maximum(product.to_numpy() + bias, 0)
            same_bits(rectified.to_numpy(), expected)
            agree(total, wide(expected).sum(0, keepdims=True), dtype, terms=n, scale=30 * n)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_of_many_tiles(dtype, rng):
    """On a GPU such a product has larger tiles than others; on its own and with what follows it."""
    a, b, bias = values(rng, [1100, 5], dtype), values(rng, [5, 1000], dtype), values(rng, [1100, 1], dtype)
    product = array(a) * array(b)
    agree(product, wide(b) @ wide(a), dtype, terms=5, scale=20)
    rectified = owl.elewise.relu(array(a) * array(b) + array(bias))
    same_bits(rectified.to_numpy(), np.maximum(product.to_numpy() + bias, 0))


@given(
    m=st.integers(1, 900),
    few=st.integers(1, 9),
    k=st.integers(1, 60),
    seed=seeds,
    dtype=st.sampled_from(DTYPES),
    left=st.booleans(),
    right=st.booleans(),
    swap=st.booleans(),
)
def test_few_columns_or_rows_are_those_of_a_larger_product(m, few, k, seed, dtype, left, right, swap):
    """They are computed in another way, of which no bit tells."""
    rng = np.random.default_rng(seed)
    a, b = values(rng, [m, k], dtype), values(rng, [k, 40], dtype)

    def product(columns: int) -> np.ndarray:
        part = b[:columns]
        x = array(a.T).trans() if left else array(a)
        y = array(np.ascontiguousarray(part.T)).trans() if right else array(part)
        return (y.trans() * x.trans()).to_numpy().T if swap else (x * y).to_numpy()

    same_bits(product(few), product(40)[:few])


@given(m=sizes, n=sizes, k=sizes, seed=seeds)
def test_what_follows_a_product(m, n, k, seed):
    """Bias, rectifier and update join the product's kernel."""
    rng = np.random.default_rng(seed)
    a, b, c, bias = (values(rng, shape) for shape in ([m, k], [k, n], [m, n], [m, 1]))
    product = wide(b) @ wide(a)
    scale = 9 * max(1, k) ** 0.5
    result = owl.elewise.relu(array(a) * array(b) + array(bias))
    agree(result, np.maximum(product + wide(bias), 0), terms=max(1, k), scale=scale)
    weights = array(c)
    weights -= 0.125 * (array(a) * array(b))
    agree(weights, wide(c) - 0.125 * product, terms=max(1, k), scale=scale)


def test_mixed_dtypes_multiply_in_float64(rng):
    a, b = values(rng, [4, 5], np.float32), values(rng, [5, 6], np.float64)
    agree(array(a) * array(b), b @ wide(a), np.float64, terms=5, scale=9)


def test_a_matrix_times_its_own_transpose(rng):
    a = values(rng, [33, 21])
    x = array(a)
    agree(x * x.trans(), wide(a).T @ wide(a), terms=21, scale=40)  # symmetric: the order of dimensions does not show


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_a_number_and_infinity_pass_through(bad, rng):
    a, b = values(rng, [20, 30]), values(rng, [30, 9])
    b[4, 17] = bad
    expected = wide(b) @ wide(a)
    found = (array(a) * array(b)).to_numpy()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    np.testing.assert_allclose(
        found[[0, 1, 2, 3, 5, 6, 7, 8]], expected[[0, 1, 2, 3, 5, 6, 7, 8]], rtol=1e-4, atol=1e-4
    )


def test_a_product_in_place_keeps_the_dtype():
    x = owl.ones([2, 2])
    x *= owl.full([2, 2], 0.5, dtype="float64")
    assert x.dtype == np.float32
    assert x.to_numpy().tolist() == [[1, 1], [1, 1]]
