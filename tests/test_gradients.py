"""The perceptron's hand-written gradients against float64 NumPy, numerical differences, and other plans of its step."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import DTYPES, same_bits

import owl
import owl.conv as conv
import owl.elewise as ele
from owl.testing import bounds, kernel_delay, oracles, random_windows, softmax_oracle, unfused

SIZES = {"w1": [32, 50], "b1": [32, 1], "w2": [10, 32], "b2": [10, 1]}


def parameters(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: rng.normal(0, 0.3, shape[::-1]) for name, shape in SIZES.items()}


def batch(rng: np.random.Generator, n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(0, 1, (n, 50)), np.eye(10)[rng.integers(0, 10, n)]


def owl_gradients(p: dict[str, owl.NArray], data: owl.NArray, label: owl.NArray) -> dict[str, owl.NArray]:
    a1 = ele.relu(p["w1"] * data + p["b1"])
    a2 = conv.softmax(p["w2"] * a1 + p["b2"])
    s2 = a2 - label
    s1 = ele.relu_back(p["w2"].trans() * s2, a1)
    return {"w1": s1 * data.trans(), "b1": s1.sum(1), "w2": s2 * a1.trans(), "b2": s2.sum(1)}


def numpy_gradients(p: dict[str, np.ndarray], data: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    a1 = np.maximum(data @ p["w1"] + p["b1"], 0)
    a2 = softmax_oracle(a1 @ p["w2"] + p["b2"])
    s2 = a2 - label
    s1 = (s2 @ p["w2"].T) * (a1 > 0)
    return {"w1": data.T @ s1, "b1": s1.sum(0, keepdims=True), "w2": a1.T @ s2, "b2": s2.sum(0, keepdims=True)}


def loss(p: dict[str, np.ndarray], data: np.ndarray, label: np.ndarray) -> float:
    a1 = np.maximum(data @ p["w1"] + p["b1"], 0)
    return -np.sum(label * np.log(softmax_oracle(a1 @ p["w2"] + p["b2"])))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 24, 100])
def test_gradients_of_the_perceptron(dtype, n, rng):
    p = parameters(rng)
    data, label = batch(rng, n)
    to_owl = lambda x: owl.from_numpy(x, dtype=dtype)  # noqa: E731
    found = owl_gradients({name: to_owl(x) for name, x in p.items()}, to_owl(data), to_owl(label))
    expected = numpy_gradients(p, data, label)
    tolerance = 2e-5 if dtype == np.float32 else 1e-13
    for name, gradient in found.items():
        assert gradient.shape == SIZES[name]
        np.testing.assert_allclose(gradient.to_numpy(), expected[name], rtol=tolerance, atol=tolerance * n)


def test_gradients_are_the_slopes_of_the_loss(rng):
    p = parameters(rng)
    data, label = batch(rng)
    gradients = owl_gradients(
        {name: owl.from_numpy(x, np.float64) for name, x in p.items()},
        owl.from_numpy(data, np.float64),
        owl.from_numpy(label, np.float64),
    )
    for name, gradient in gradients.items():
        found = gradient.to_numpy()
        for _ in range(5):
            place = tuple(rng.integers(0, size) for size in p[name].shape)
            step = np.zeros_like(p[name])
            step[place] = 1e-6
            slope = (
                loss({**p, name: p[name] + step}, data, label) - loss({**p, name: p[name] - step}, data, label)
            ) / 2e-6
            assert found[place] == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("backward", "forward"), [("sigm_back", "sigm"), ("tanh_back", "tanh")])
def test_backward_functions_are_slopes(backward, forward, rng):
    x, g = rng.normal(0, 2, 200), rng.normal(0, 1, 200)
    slope = (oracles[forward](x + 1e-6) - oracles[forward](x - 1e-6)) / 2e-6
    y = getattr(ele, forward)(owl.from_numpy(x, np.float64))
    np.testing.assert_allclose(getattr(ele, backward)(y).to_numpy(), slope, rtol=1e-6, atol=1e-9)
    both = getattr(ele, backward)(owl.from_numpy(g, np.float64), y)
    np.testing.assert_allclose(both.to_numpy(), g * slope, rtol=1e-6, atol=1e-9)


def train(rng: np.random.Generator, steps: int = 12) -> list[np.ndarray]:
    p = {name: owl.from_numpy(x) for name, x in parameters(rng).items()}
    shown = []
    for step in range(steps):
        data, label = (owl.from_numpy(x) for x in batch(rng, 24 if step % 4 else 17))
        a1 = ele.relu(p["w1"] * data + p["b1"])
        a2 = conv.softmax(p["w2"] * a1 + p["b2"])
        s2 = a2 - label
        s1 = ele.relu_back(p["w2"].trans() * s2, a1)
        p["w1"] -= 0.1 / 24 * (s1 * data.trans())
        p["w2"] -= 0.1 / 24 * (s2 * a1.trans())
        p["b1"] -= 0.1 / 24 * s1.sum(1)
        p["b2"] -= 0.1 / 24 * s2.sum(1)
        if step % 5 == 4:
            shown.append(a2.to_numpy())
    return [*shown, *(x.to_numpy() for x in p.values())]


def same_training(others: list[np.ndarray]) -> None:
    for left, right in zip(train(np.random.default_rng(1)), others, strict=True):
        same_bits(left, right)


def test_mlp_step_has_the_same_bits_without_fusion():
    with unfused():
        others = train(np.random.default_rng(1))
    same_training(others)


@pytest.mark.parametrize("seed", range(4))
def test_mlp_step_has_the_same_bits_with_random_windows(seed):
    with random_windows(seed):
        others = train(np.random.default_rng(1))
    same_training(others)


@pytest.mark.parametrize("limits", [{"nodes": 1}, {"nodes": 5, "runs": 1}, {"bytes": 20_000}])
def test_mlp_step_has_the_same_bits_with_small_windows(limits):
    with bounds(**limits):
        others = train(np.random.default_rng(1))
    same_training(others)


def test_mlp_step_has_the_same_bits_with_any_number_of_threads():
    was = owl.get_num_threads()
    try:
        for count in (1, 3, 4):
            owl.set_num_threads(count)
            others = train(np.random.default_rng(1))
            owl.set_num_threads(was)
            same_training(others)
    finally:
        owl.set_num_threads(was)


def test_mlp_step_has_the_same_bits_when_kernels_are_late():
    with kernel_delay(200):
        others = train(np.random.default_rng(1))
    same_training(others)
