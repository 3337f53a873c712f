"""Gradients against PyTorch's autograd: single operations of random shapes, random programs, and whole nets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import owl
from owl import conv, elewise, optim

torch = pytest.importorskip("torch")

sizes = st.integers(1, 5)
seeds = st.integers(0, 2**32 - 1)

# Of matrices of one shape: owl's function and PyTorch's. Numbers are positive and no two are alike.
UNARY: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "exp": (elewise.exp, lambda x: x.exp()),
    "ln": (elewise.ln, lambda x: x.log()),
    "sigm": (elewise.sigm, lambda x: x.sigmoid()),
    "tanh": (elewise.tanh, lambda x: x.tanh()),
    "relu": (lambda x: elewise.relu(x - 1), lambda x: (x - 1).relu()),
    "sqrt": (elewise.sqrt, lambda x: x.sqrt()),
    "abs": (lambda x: abs(x - 1), lambda x: (x - 1).abs()),
    "neg": (lambda x: -x, lambda x: -x),
    "number": (lambda x: (2 - x) / 3 + 1 / x + x**2.5 + 2**x, lambda x: (2 - x) / 3 + 1 / x + x**2.5 + 2**x),
    "clip": (lambda x: elewise.clip(x, 0.8, 1.9), lambda x: x.clamp(0.8, 1.9)),
    "mean": (lambda x: x + x.mean(0), lambda x: x + x.mean(1, keepdim=True)),
    "sum": (lambda x: x / x.sum([0, 1]), lambda x: x / x.sum()),
    "max": (lambda x: x - x.max(1), lambda x: x - x.amax(0, keepdim=True)),
    "min": (lambda x: x - x.min(0), lambda x: x - x.amin(1, keepdim=True)),
    "softmax": (conv.softmax, lambda x: x.softmax(1)),
    "log_softmax": (conv.log_softmax, lambda x: x.log_softmax(1)),
    "turned": (lambda x: x[::-1, :], lambda x: x.flip(1)),
}
BINARY: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "add": (lambda x, y: x + y, lambda x, y: x + y),
    "sub": (lambda x, y: x - y, lambda x, y: x - y),
    "mult": (elewise.mult, lambda x, y: x * y),
    "div": (lambda x, y: x / y, lambda x, y: x / y),
    "pow": (lambda x, y: x**y, lambda x, y: x**y),
    "maximum": (elewise.maximum, lambda x, y: torch.maximum(x, y)),
    "minimum": (elewise.minimum, lambda x, y: torch.minimum(x, y)),
    "where": (lambda x, y: elewise.where(x > y, x, y * 2), lambda x, y: torch.where(x > y, x, y * 2)),
    "product": (lambda x, y: x * y.trans() * y, lambda x, y: y @ (y.T @ x)),
    "concat": (lambda x, y: owl.concat([x, y], 0)[1:-1:2].sum(0) + x,
               lambda x, y: torch.cat([x, y], 1)[:, 1:-1:2].sum(1, True) + x),
}  # fmt: skip


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    size = int(np.prod(shape))
    return (0.5 + (rng.permutation(size) + rng.random(size) * 0.5) / size * 1.5).reshape(shape)


def compare(of_owl: Callable[..., Any], of_torch: Callable[..., Any], *arrays: np.ndarray) -> None:
    """Gradients of a combination of the results, and the gradients of their squares."""
    weight = np.random.default_rng(3).normal(size=of_torch(*map(torch.from_numpy, arrays)).shape)
    given_owl = [owl.from_numpy(x, np.float64) for x in arrays]
    given_torch = [torch.tensor(x, requires_grad=True) for x in arrays]
    every = tuple(range(len(arrays)))

    def total(*args: Any) -> Any:
        return elewise.mult(of_owl(*args), owl.from_numpy(weight, np.float64)).sum()

    def squares(*args: Any) -> Any:
        return sum(
            (elewise.mult(g, g).sum().reshape([1]) for g in owl.grad(total, every)(*args)),
            start=owl.zeros([1], np.float64),
        )

    # The sum of the arguments is there so that PyTorch finds each of them in its graph.
    result = (of_torch(*given_torch) * torch.from_numpy(weight)).sum() + 0 * sum((x**2).sum() for x in given_torch)
    first = torch.autograd.grad(result, given_torch, create_graph=True)
    for found, expected in zip(owl.grad(total, every)(*given_owl), first, strict=True):
        np.testing.assert_allclose(found.to_numpy(), expected.numpy(force=True), rtol=1e-9, atol=1e-9)
    second = torch.autograd.grad(sum((g**2).sum() for g in first), given_torch)
    for found, expected in zip(owl.grad(squares, every)(*given_owl), second, strict=True):
        np.testing.assert_allclose(found.to_numpy(), expected.numpy(force=True), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", UNARY)
@settings(max_examples=8)
@given(rows=sizes, columns=sizes, seed=seeds)
def test_functions_of_one_array(name: str, rows: int, columns: int, seed: int) -> None:
    compare(*UNARY[name], numbers(np.random.default_rng(seed), rows, columns))


@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=8)
@given(rows=sizes, columns=st.integers(2, 5), seed=seeds)
def test_functions_of_two_arrays(name: str, rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = np.split(numbers(rng, 2, rows, columns), 2)
    compare(*BINARY[name], x[0], y[0])


@settings(max_examples=40)
@given(seed=seeds)
def test_random_programs(seed: int) -> None:
    """Some operations, each of any values before it."""
    rng = np.random.default_rng(seed)
    rows, columns = int(rng.integers(1, 5)), int(rng.integers(2, 5))
    unary = ["sigm", "tanh", "relu", "neg", "mean", "softmax", "log_softmax", "max", "turned"]
    binary = ["add", "sub", "mult", "maximum", "where", "product"]
    steps = [
        (str(rng.choice(unary if rng.random() < 0.5 else binary)), int(rng.integers(k + 2)), int(rng.integers(k + 2)))
        for k in range(int(rng.integers(1, 8)))
    ]

    def program(side: int) -> Callable[..., Any]:
        def run(x: Any, y: Any) -> Any:
            values = [x, y]
            for name, a, b in steps:
                function = (UNARY | BINARY)[name][side]
                values.append(function(values[a]) if name in unary else function(values[a], values[b]))
            return values[-1]

        return run

    x, y = np.split(numbers(rng, 2, rows, columns), 2)
    compare(program(0), program(1), x[0], y[0])


@pytest.mark.parametrize("groups", [1, 2])
@settings(max_examples=10)
@given(seed=seeds)
def test_convolution_nets(groups: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pad, stride, dilation = int(rng.integers(0, 3)), int(rng.integers(1, 3)), int(rng.integers(1, 3))
    layer = conv.Convolver(pad, pad, stride, stride, dilation_v=dilation, dilation_h=dilation, groups=groups)
    pool = conv.Pooler(2, 2, 2, 2, op=conv.pool_op.avg)
    x = rng.normal(size=(2, 2 * groups, 8, 9))
    w = rng.normal(size=(2 * groups, 2, 2, 3))
    b = rng.normal(size=2 * groups)

    def of_owl(x: Any, w: Any, b: Any) -> Any:
        return pool.ff(elewise.tanh(layer.ff(x, w, b)))[:1, :1]

    def of_torch(x: Any, w: Any, b: Any) -> Any:
        y = torch.conv2d(x, w.flip(2, 3), b, stride, pad, dilation, groups).tanh()
        return torch.nn.functional.avg_pool2d(y, 2, 2, ceil_mode=True, count_include_pad=True)[:, :, :1, :1]

    compare(of_owl, of_torch, x, w, b)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (optim.SGD(0.1, 0.9, True, 0.01), lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True, weight_decay=0.01)),
        (optim.Adam(0.01, weight_decay=0.1), lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1)),
        (optim.AdamW(0.01, weight_decay=0.1), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
        (optim.RMSprop(0.01, momentum=0.5), lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5)),
        (optim.Adagrad(0.01, 0.1, 0.1, 0.5), lambda p: torch.optim.Adagrad(p, 0.01, 0.1, 0.1, 0.5)),
    ],
    ids=["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"],
)
def test_a_hundred_steps_of_training(ours: Any, theirs: Any) -> None:
    """A perceptron, by owl and by PyTorch, from the same weights."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), np.eye(3)[rng.integers(0, 3, 30)]
    weights = {"w": rng.normal(size=(5, 4)), "b": rng.normal(size=(1, 5)), "v": rng.normal(size=(3, 5))}
    params = {name: owl.from_numpy(value, np.float64) for name, value in weights.items()}
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
    data, label = owl.from_numpy(x, np.float64), owl.from_numpy(y, np.float64)
    state, other = ours.init(params), theirs(list(leaves.values()))

    def loss(p: Any) -> Any:
        return conv.cross_entropy(p["v"].trans() * elewise.tanh(p["w"].trans() * data + p["b"]), label).mean()

    for _ in range(100):
        value, gradients = owl.value_and_grad(loss)(params)
        params, state = ours.update(gradients, state, params)
        other.zero_grad()
        scores = (torch.from_numpy(x) @ leaves["w"].T + leaves["b"]).tanh() @ leaves["v"].T
        expected = torch.nn.functional.cross_entropy(scores, torch.from_numpy(y))
        expected.backward()
        other.step()
    assert float(value) == pytest.approx(expected.item(), rel=1e-9)
    for name, leaf in leaves.items():
        np.testing.assert_allclose(params[name].to_numpy(), leaf.detach().numpy(), rtol=1e-8)
