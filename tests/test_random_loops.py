"""Random training loops: the planner learns their rounds, and no bit may depend on what it learned.

A round is a random list of steps over a few names, which are bound anew or updated in place; some steps belong to some
rounds only, some rounds end with a demand, some values are kept and looked at long after. Values stay within -1 and 1.
"""

from __future__ import annotations

import gc
import random
from typing import Any

import numpy as np
import pytest
from agreement import same_bits

import owl
import owl.elewise as ele
from owl.testing import bounds, random_windows, softmax_oracle, unfused

STEPS = ["average", "difference", "mult", "tanh", "relu", "product", "gradient", "trans", "softmax", "centre", "bias"]


class Eager:
    """The steps in float64 NumPy, on arrays with reversed dimensions."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def array(self, x: np.ndarray) -> Any:
        return x.astype(np.float64)

    def step(self, name: str, x: Any, y: Any, n: int) -> Any:
        match name:
            case "average":
                return (x + y) * 0.5
            case "difference":
                return 0.5 * x - y / 2
            case "mult":
                return x * y
            case "tanh":
                return np.tanh(x + 0.25 * y)
            case "relu":
                return np.maximum(x, 0)
            case "product":
                return (y @ x) / n
            case "gradient":
                return (y.T @ x) / n
            case "trans":
                return x.T
            case "softmax":
                return softmax_oracle(x)
            case "centre":
                return (x - x.mean(0, keepdims=True)) * 0.5
            case "bias":
                return (x + y.sum(0, keepdims=True) / n) * 0.5
        raise AssertionError(name)

    def update(self, x: Any, y: Any) -> Any:
        return x - 0.125 * (x + y)

    def look(self, x: Any) -> np.ndarray:
        return np.array(x)


class Lazy(Eager):
    """The same in owl."""

    def array(self, x: np.ndarray) -> Any:
        return owl.from_numpy(x, dtype=self.dtype)

    def step(self, name: str, x: Any, y: Any, n: int) -> Any:
        match name:
            case "mult":
                return ele.mult(x, y)
            case "tanh":
                return ele.tanh(x + 0.25 * y)
            case "relu":
                return ele.relu(x)
            case "product":
                return x * y / n
            case "gradient":
                return x * y.trans() / n
            case "trans":
                return x.trans()
            case "softmax":
                return owl.conv.softmax(x)
            case "centre":
                return (x - x.mean(1)) * 0.5
            case "bias":
                return (x + y.sum(1) / n) * 0.5
        return super().step(name, x, y, n)

    def update(self, x: Any, y: Any) -> Any:
        x -= 0.125 * (x + y)
        return x

    def look(self, x: Any) -> np.ndarray:
        return x.to_numpy()


def run(seed: int, machine: Eager, rounds: int = 40) -> list[np.ndarray]:
    """What the program of this seed shows."""
    chosen = random.Random(seed)
    n = chosen.choice([4, 8, 33])
    numbers = np.random.default_rng(seed)
    names: dict[str, Any] = {name: machine.array(numbers.uniform(-1, 1, (n, n))) for name in "abcdefpqr"}
    length = chosen.choice([6, 15, 30, 60])
    body = [
        (
            chosen.choice([*STEPS, "update"]),
            chosen.choice("abcdef"),
            chosen.choice("abcdefpqr"),
            chosen.choice("abcdefpqr"),
            chosen.choice("pqr"),
            chosen.choice([1] * 12 + [2, 5]),
        )
        for _ in range(length)
    ]
    asked = chosen.choice([1, 3, 10, rounds])
    kept = []
    seen = []
    for number in range(rounds):
        names["a"] = machine.array(numbers.uniform(-1, 1, (n, n)))
        for name, target, left, right, parameter, every in body:
            if number % every:
                continue
            if name == "update":
                names[parameter] = machine.update(names[parameter], names[left])
            else:
                names[target] = machine.step(name, names[left], names[right], n)
        if number % asked == asked - 1:
            seen.append(machine.look(names[chosen.choice("abcpqr")]))
        if number % 7 == 3:
            kept.append(machine.step("average", names[chosen.choice("bcdef")], names["a"], n))
    seen += [machine.look(value) for value in kept]
    seen += [machine.look(names[name]) for name in sorted(names)]
    return seen


def all_same_bits(left: list[np.ndarray], right: list[np.ndarray]) -> None:
    for one, other in zip(left, right, strict=True):
        same_bits(one, other)


@pytest.mark.parametrize("seed", range(30))
def test_random_loops_give_what_numpy_gives(seed):
    expected = run(seed, Eager(np.float64))
    for found, wanted in zip(run(seed, Lazy(np.float64)), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("seed", range(100, 125))
def test_bits_of_loops_depend_on_neither_fusion_nor_windows(seed):
    machine = Lazy(np.float32)
    expected = run(seed, machine)
    with bounds(nodes=1), unfused():  # operation by operation
        all_same_bits(run(seed, machine), expected)
    with unfused():
        all_same_bits(run(seed, machine), expected)
    with random_windows(seed):
        all_same_bits(run(seed, machine), expected)
    with bounds(nodes=50):
        all_same_bits(run(seed, machine), expected)
    gc.collect()
    all_same_bits(run(seed, machine), expected)  # with what was learned before
