"""The convolution net: its gradients, its bits under other plans, and several devices."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import DTYPES, same_bits
from convolution_reference import Convolution, Pooling

import owl
import owl.conv as conv
import owl.elewise as ele
from owl.testing import bounds, random_windows, softmax_oracle, unfused
from tests.support.devices import new_device

SIZES = {"w1": [5, 5, 1, 8], "b1": [8], "w2": [5, 5, 8, 12], "b2": [12], "w3": [10, 48], "b3": [10, 1]}
CONVS = [Convolution(), Convolution((2, 2))]
POOLS = [Pooling((2, 2), (2, 2)), Pooling((3, 3), (3, 3))]
SIDE = 16  # 16 -> 12 -> 6 -> 6 -> 2

Arrays = dict[str, np.ndarray]


def parameters(rng: np.random.Generator) -> Arrays:
    return {name: rng.normal(0, 0.3, shape[::-1]) for name, shape in SIZES.items()}


def batch(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(0, 1, (n, 1, SIDE, SIDE)), np.eye(10)[rng.integers(0, 10, n)]


def owl_gradients(p: dict[str, owl.NArray], data: owl.NArray, label: owl.NArray) -> dict[str, owl.NArray]:
    (conv1, conv2), (pool1, pool2) = [c.convolver() for c in CONVS], [q.pooler() for q in POOLS]
    a1 = ele.relu(conv1.ff(data, p["w1"], p["b1"]))
    p1 = pool1.ff(a1)
    a2 = ele.relu(conv2.ff(p1, p["w2"], p["b2"]))
    p2 = pool2.ff(a2)
    features = p2.reshape([48, data.shape[3]])
    s3 = conv.softmax(p["w3"] * features + p["b3"]) - label
    e2 = (p["w3"].trans() * s3).reshape(p2.shape)
    s2 = ele.relu_back(pool2.bp(e2, p2, a2), a2)
    e1 = conv2.bp(s2, p1, p["w2"])
    s1 = ele.relu_back(pool1.bp(e1, p1, a1), a1)
    return {
        "w1": conv1.weight_grad(s1, data, p["w1"]),
        "b1": conv1.bias_grad(s1),
        "w2": conv2.weight_grad(s2, p1, p["w2"]),
        "b2": conv2.bias_grad(s2),
        "w3": s3 * features.trans(),
        "b3": s3.sum(1),
    }


def loss(p: Arrays, data: np.ndarray, label: np.ndarray) -> float:
    a1 = np.maximum(CONVS[0].forward(data, p["w1"]) + p["b1"][:, None, None], 0)
    p1 = POOLS[0].forward(a1)
    a2 = np.maximum(CONVS[1].forward(p1, p["w2"]) + p["b2"][:, None, None], 0)
    features = POOLS[1].forward(a2).reshape(len(data), -1)
    return -float((label * np.log(softmax_oracle(features @ p["w3"] + p["b3"]))).sum())


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_the_slopes_of_the_loss(dtype, rng):
    p = parameters(rng)
    data, label = batch(rng, 5)
    narrow = [owl.from_numpy(x, dtype) for x in (data, label)]
    found = owl_gradients({name: owl.from_numpy(x, dtype) for name, x in p.items()}, *narrow)
    for name, gradient in found.items():
        assert gradient.shape == SIZES[name]
        value = gradient.to_numpy()
        absolute = (1e-4 if dtype == np.float32 else 1e-6) * float(np.abs(value).max())
        for _ in range(6):
            place = tuple(rng.integers(size) for size in p[name].shape)
            step = np.zeros_like(p[name])
            step[place] = 1e-6
            slope = (
                loss({**p, name: p[name] + step}, data, label) - loss({**p, name: p[name] - step}, data, label)
            ) / 2e-6
            assert value[place] == pytest.approx(slope, rel=1e-4, abs=absolute)


def train(steps: int = 7, look: bool = True) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    p = {name: owl.from_numpy(x) for name, x in parameters(rng).items()}
    shown = []
    for step in range(steps):
        data, label = (owl.from_numpy(x) for x in batch(rng, 20 if step % 4 else 13))
        gradients = owl_gradients(p, data, label)
        for name in p:
            p[name] -= 0.02 * gradients[name]
        if look and step % 3 == 2:
            shown.append(gradients["w2"].to_numpy())
    return [*shown, *(x.to_numpy() for x in p.values())]


def same_training(others: list[np.ndarray]) -> None:
    for left, right in zip(train(), others, strict=True):
        same_bits(left, right)


def test_a_step_has_the_same_bits_without_fusion():
    with unfused():
        others = train()
    same_training(others)


@pytest.mark.parametrize("seed", range(6))
def test_a_step_has_the_same_bits_with_random_windows(seed):
    with random_windows(seed):
        others = train()
    same_training(others)


@pytest.mark.parametrize("limits", [{"nodes": 1}, {"nodes": 5, "runs": 1}, {"bytes": 100_000}])
def test_a_step_has_the_same_bits_with_small_windows(limits):
    with bounds(**limits):
        others = train()
    same_training(others)


@pytest.fixture(scope="module")
def three(devices: list[owl.Device]) -> list[owl.Device]:
    return [*devices, new_device()]


@pytest.mark.parametrize("count", [2, 3])
def test_several_devices_learn_what_one_does(count, three):
    """Each device has a part of the batch; the first one adds the gradients up and updates."""

    def run(used: list[owl.Device]) -> Arrays:
        rng = np.random.default_rng(8)
        with used[0]:
            p = {name: owl.from_numpy(x) for name, x in parameters(rng).items()}
        for _ in range(6):
            data, label = batch(rng, 23)
            parts = []
            for device, x, y in zip(used, np.array_split(data, len(used)), np.array_split(label, len(used))):
                with device:
                    parts.append(owl_gradients(p, owl.from_numpy(x), owl.from_numpy(y)))
                    assert parts[-1]["w1"].device == device
            with used[0]:
                for name in p:
                    p[name] -= 0.02 * sum((part[name] for part in parts[1:]), parts[0][name])
        return {name: x.to_numpy() for name, x in p.items()}

    start = parameters(np.random.default_rng(8))
    one, several = run(three[:1]), run(three[:count])
    for name in SIZES:
        change = one[name] - start[name]
        assert np.linalg.norm(several[name] - one[name]) <= 2e-5 * np.linalg.norm(change)
