"""Distributions of random arrays, and what their numbers depend on: seed, stream of recording, count of draws."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from agreement import DTYPES, same_bits
from scipy import stats

import owl
from owl.testing import bounds, random_windows, unfused

N = 200_000


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_numbers(dtype):
    x = owl.randn([N], 1.5, 2.0, dtype).to_numpy()
    assert x.dtype == dtype
    assert abs(x.mean() - 1.5) < 5 * 2 / N**0.5
    assert abs(x.std() - 2.0) < 5 * 2 / (2 * N) ** 0.5
    assert stats.kstest(x[:20000], stats.norm(1.5, 2).cdf).pvalue > 1e-4
    assert np.isfinite(x).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform_numbers(dtype):
    x = owl.randu([N], -1, 3, dtype).to_numpy()
    assert (x >= -1).all()
    assert (x < 3).all()
    assert stats.kstest(x[:20000], stats.uniform(-1, 4).cdf).pvalue > 1e-4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("prob", [0.0, 0.1, 0.5, 1.0])
def test_bernoulli_numbers(prob, dtype):
    x = owl.randb([N], prob, dtype).to_numpy()
    assert set(np.unique(x)) <= {0.0, 1.0}
    assert abs(x.mean() - prob) <= 5 * (prob * (1 - prob) / N) ** 0.5


def test_neighbours_and_successive_draws_are_uncorrelated():
    x, y = owl.randn([N]).to_numpy(), owl.randn([N]).to_numpy()
    limit = 5 / N**0.5
    for shift in (1, 2, 3, 4):
        assert abs(np.corrcoef(x[:-shift], x[shift:])[0, 1]) < limit
    assert abs(np.corrcoef(x, y)[0, 1]) < limit


def test_the_third_argument_of_randn_is_the_standard_deviation():
    assert owl.randn([N], 0.0, 0.01).to_numpy().std() == pytest.approx(0.01, rel=0.02)


def three_draws() -> list[np.ndarray]:
    owl.seed(7)
    return [owl.randn([37]).to_numpy(), owl.randb([5, 5], 0.5).to_numpy(), owl.randu([3, 3, 3]).to_numpy()]


def test_the_seed_decides():
    for first, second in zip(three_draws(), three_draws()):
        same_bits(first, second)
    owl.seed(8)
    assert (owl.randn([37]).to_numpy() != three_draws()[0]).any()


def test_what_is_drawn_does_not_depend_on_what_is_computed():
    expected = three_draws()
    owl.seed(7)
    a, b, c = owl.randn([37]), owl.randb([5, 5], 0.5), owl.randu([3, 3, 3])
    del b  # never computed
    same_bits(c.to_numpy(), expected[2])
    same_bits(a.to_numpy(), expected[0])
    owl.seed(7)
    owl.randn([2, 2])  # dropped at once, but counted
    same_bits(owl.randb([5, 5], 0.5).to_numpy(), expected[1])


def test_numbers_depend_on_neither_windows_nor_fusion():
    expected = three_draws()
    with unfused():
        for first, second in zip(three_draws(), expected):
            same_bits(first, second)
    with random_windows(5), bounds(nodes=2):
        for first, second in zip(three_draws(), expected):
            same_bits(first, second)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 63, 64, 65, 1000])
def test_a_short_array_begins_as_a_long_one(size):
    def draws(n):
        owl.seed(3)
        return [owl.randn([n]).to_numpy(), owl.randu([n]).to_numpy(), owl.randb([n], 0.3).to_numpy()]

    for short, long in zip(draws(size), draws(4096)):
        same_bits(short, long[:size])


@pytest.mark.parametrize("draw", [owl.randn, owl.randu])
def test_both_dtypes_draw_the_same_but_for_rounding(draw):
    def numbers(dtype):
        owl.seed(8)
        return draw([1000], -1.0, 2.0, dtype=dtype).to_numpy()

    np.testing.assert_allclose(numbers("float32"), numbers("float64"), rtol=0, atol=3e-6)


def test_threads_draw_other_numbers():
    found = {}

    def draw(name):
        found[name] = owl.randn([100]).to_numpy()

    for name in ("a", "b"):
        thread = threading.Thread(target=draw, args=(name,))
        thread.start()
        thread.join()
    assert (found["a"] != found["b"]).any()


def test_a_draw_is_one_value_however_often_it_is_read():
    x = owl.randn([1000])
    y = x + 1
    z = x * 2
    same_bits(y.to_numpy(), x.to_numpy() + np.float32(1))
    same_bits(z.to_numpy(), x.to_numpy() * np.float32(2))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: owl.randn([3], 0, -1),
        lambda: owl.randb([3], 1.5),
        lambda: owl.randb([3], -0.1),
        lambda: owl.randn([3], 0, float("nan")),
        lambda: owl.randb([3], float("nan")),
    ],
)
def test_impossible_parameters(draw):
    with pytest.raises(ValueError, match=r"\[rand[nb]\]"):
        draw()
