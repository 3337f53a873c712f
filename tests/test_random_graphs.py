"""Random programs against the same program in NumPy, and against themselves under other plans.

A program is recorded step by step from a seed: operations over whatever arrays there are, demands, deleted handles,
handles kept in lists and cycles, updates in place, changes of device. What any order of these shows must be what NumPy
computes, and the bits must depend on neither fusion nor windows.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable

import numpy as np
import pytest
from agreement import same_bits
from convolution_reference import Convolution, Pooling

import owl
import owl.elewise as ele
from owl.testing import bounds, oracles, random_windows, softmax_oracle, unfused

SHAPES = [[4, 6], [6, 4], [4, 1], [1, 6], [6, 6], [40, 6], [7, 6, 3, 2]]
CONVOLUTIONS = [Convolution(), Convolution((1, 1)), Convolution((2, 0), (2, 1))]
POOLINGS = [Pooling((2, 2), (2, 2)), Pooling((3, 2), (2, 1), (1, 0))]
UNARY = ["abs", "relu", "sigm", "tanh"]


class Cycle:
    """Garbage that only the collector frees."""

    def __init__(self, array: owl.NArray) -> None:
        self.array = array
        self.me = self


class Program:
    """Pairs of an owl array and the float64 NumPy array that it should be."""

    def __init__(self, seed: int, devices: list[owl.Device]) -> None:
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.devices = devices
        self.pairs: list[tuple[owl.NArray, np.ndarray]] = []
        self.kept: list[list[tuple[owl.NArray, np.ndarray]]] = []
        self.seen: list[np.ndarray] = []
        self.unchecked: list[owl.NArray] = []
        for shape in SHAPES:
            self.leaf(shape)

    def leaf(self, shape: list[int]) -> None:
        x = self.numbers.uniform(-1, 1, shape[::-1]).astype(np.float32)
        self.pairs.append((owl.from_numpy(x), x.astype(np.float64)))

    def pick(self, fits: Callable[[list[int]], bool] = lambda shape: True) -> tuple[owl.NArray, np.ndarray] | None:
        fitting = [pair for pair in self.pairs[-30:] if fits(pair[0].shape)]
        return self.random.choice(fitting) if fitting else None

    def put(self, array: owl.NArray, expected: np.ndarray) -> None:
        assert array.shape == list(reversed(expected.shape))
        if expected.size > 600:
            return
        # Values stay in a range in which errors do not grow.
        largest = np.abs(expected).max(initial=0)
        if largest > 8:
            scale = 2.0 ** -int(np.ceil(np.log2(largest)))
            array, expected = array * scale, expected * scale
        self.pairs.append((array, expected))

    def look(self, pair: tuple[owl.NArray, np.ndarray]) -> None:
        found = pair[0].to_numpy()
        np.testing.assert_allclose(found, pair[1], rtol=0, atol=2e-3)
        self.seen.append(found)

    def convolve(self, x: owl.NArray, a: np.ndarray) -> None:
        """A convolution, and its gradients from its own result."""
        reference = self.random.choice(CONVOLUTIONS)
        f = self.numbers.uniform(-0.3, 0.3, (3, x.shape[2], 3, 3)).astype(np.float32)
        w, f = owl.from_numpy(f), f.astype(np.float64)
        y, b = reference.convolver().ff(x, w), reference.forward(a, f)
        self.put(ele.relu(y), np.maximum(b, 0))
        if self.random.random() < 0.5:
            self.put(reference.convolver().bp(y, x, w), reference.data_gradient(b, a, f))
            self.put(reference.convolver().weight_grad(y, x, w), reference.filter_gradient(b, a, f))
            self.put(reference.convolver().bias_grad(y), b.sum((0, 2, 3)))

    def pool(self, x: owl.NArray, a: np.ndarray) -> None:
        """A pooling and its way back, of which only the bits are looked at: which of two equal pixels wins depends on
        rounding."""
        reference = self.random.choice(POOLINGS)
        r = ele.relu(x)
        y = reference.pooler().ff(r)
        self.put(y, reference.forward(np.maximum(a, 0)))
        s = ele.relu_back(reference.pooler().bp(y, y, r), r)
        w = owl.from_numpy(self.numbers.uniform(-0.3, 0.3, (2, x.shape[2], 3, 3)).astype(np.float32))
        self.unchecked.append(s if self.random.random() < 0.5 else Convolution((1, 1)).convolver().ff(s, w))

    def step(self) -> None:
        x, a = self.pick()
        match self.random.randrange(22):
            case 0:
                y, b = self.pick(lambda shape: shape == x.shape)
                self.put(x + y, a + b)
            case 1:
                y, b = self.pick(lambda shape: shape == x.shape)
                self.put(x - y, a - b)
            case 2:
                y, b = self.pick(lambda shape: shape == x.shape)
                self.put(ele.mult(x, y), a * b)
            case 3:
                name = self.random.choice(UNARY)
                self.put(getattr(ele, name)(x), oracles[name](a))
            case 4:
                number = self.random.choice([0.5, 2.0, -1.0, 3])
                self.put(x * number + 1, a * number + 1)
                self.put(1 - x, 1 - a)
            case 5:
                if x.ndim == 2 and (pair := self.pick(lambda shape: len(shape) == 2 and shape[0] == x.shape[1])):
                    self.put(x * pair[0] * 0.125, (pair[1] @ a) * 0.125)
            case 6:
                if x.ndim == 2 and (pair := self.pick(lambda shape: len(shape) == 2 and shape[1] == x.shape[1])):
                    self.put(x * pair[0].trans() * 0.125, (pair[1].T @ a) * 0.125)
            case 7:
                self.put(x.trans(), a.T)
            case 8:
                axis = self.random.randrange(x.ndim) if x.ndim else None
                axes = None if axis is None else a.ndim - 1 - axis
                self.put(x.mean(axis), a.mean(axis=axes, keepdims=True))
                self.put(x.max(axis), a.max(axis=axes, keepdims=True))
            case 9:
                if x.ndim == 2:
                    self.put(owl.conv.softmax(x), softmax_oracle(a))
            case 10:
                self.put(x.reshape([x.size]), a.reshape(-1))
            case 11:
                if x.ndim and x.shape[0] > 1:
                    self.put(x[1:], a[..., 1:])
                    self.put(x[::-1], a[..., ::-1])
            case 12:
                if x.ndim and x.size < 200:
                    self.put(owl.concat([x, x * 0.5], 0), np.concatenate([a, a * 0.5], -1))
            case 13:
                # Several names of one object see the update; what was computed before keeps the old value.
                y, b = self.pick(lambda shape: shape == x.shape)
                before = x.copy()
                x -= 0.25 * y
                expected = a - 0.25 * b
                if y is x:
                    expected = a - 0.25 * a
                self.pairs = [(array, expected if array is x else value) for array, value in self.pairs]
                self.kept = [
                    [(array, expected if array is x else value) for array, value in kept] for kept in self.kept
                ]
                self.put(before, a)
            case 14:
                self.look((x, a))
            case 15:
                for _ in range(min(len(self.pairs) - 6, self.random.randrange(8))):
                    del self.pairs[self.random.randrange(len(self.pairs))]
            case 16:
                if self.random.random() < 0.5:
                    Cycle(x + 1)
                else:
                    self.kept.append([(x, a), self.pairs[self.random.randrange(len(self.pairs))]])
                if self.random.random() < 0.1:
                    gc.collect()
            case 17:
                owl.set_device(self.random.choice(self.devices))
            case 18:
                self.random.choice([x.start_eval, owl.wait_for_all, x.wait_for_eval])()
            case 19 | 20:
                if pair := self.pick(lambda shape: len(shape) == 4 and min(shape[:2]) >= 3 and shape[3]):
                    self.convolve(*pair)
            case 21:
                if pair := self.pick(lambda shape: len(shape) == 4 and min(shape[:2]) >= 3 and shape[3]):
                    self.pool(*pair)
        x = None
        if len(self.pairs) < 6:
            self.leaf(self.random.choice(SHAPES))

    def run(self, steps: int) -> list[np.ndarray]:
        try:
            for _ in range(steps):
                self.step()
            for kept in self.kept:
                for pair in kept:
                    self.look(pair)
            self.seen += [array.to_numpy() for array in self.unchecked]
            order = list(self.pairs)
            self.random.shuffle(order)
            for pair in order:
                self.look(pair)
        finally:
            owl.set_device(self.devices[0])
        return self.seen


def run(seed: int, devices: list[owl.Device], steps: int = 90) -> list[np.ndarray]:
    return Program(seed, devices).run(steps)


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_give_what_numpy_gives(seed, devices):
    run(seed, devices if seed % 2 else devices[:1])


@pytest.mark.parametrize("seed", range(1000, 1025))
def test_bits_depend_on_neither_fusion_nor_windows(seed, devices):
    devices = devices if seed % 2 else devices[:1]
    expected = run(seed, devices)
    with unfused():
        plain = run(seed, devices)
    with random_windows(seed):
        cut = run(seed, devices)
    with bounds(nodes=3, runs=1):
        small = run(seed, devices)
    for others in (plain, cut, small):
        assert len(others) == len(expected)
        for left, right in zip(expected, others):
            same_bits(left, right)
