"""The nets' steps and the calls on arrays by JAX: compiled whole by ``jax.jit``, with parameters that are donated.

JAX is imported when a contestant is made, so that this module can be had without it. Where JAX has no GPU, it computes
on the CPU: the benchmark can then be tested, and its figures mean nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np

PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")
INSTALL = "pip install 'jax[cuda13]'"


def missing() -> str:
    """Why JAX is left out where no contestants are named; empty if it takes part."""
    if not importlib.util.find_spec("jax"):
        return f"JAX is not installed ({INSTALL}): it is left out."
    if not any(map(importlib.util.find_spec, PLUGINS)):
        return f"JAX is installed without CUDA ({INSTALL}): it is left out."
    return ""


def with_jax(names: dict[str, str], only: list[str] | None) -> list[str]:
    """The contestants that were named, or all but those that cannot take part, which it says."""
    if only:
        if "jit" in only and not importlib.util.find_spec("jax"):
            raise SystemExit(f"JAX is not installed: {INSTALL}")
        return only
    why = missing()
    if why:
        print(why, flush=True)
    return [name for name in names if name != "jit" or not why]


def _jax(tf32: bool) -> Any:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # other contestants need memory of the GPU too
    import jax

    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if tf32 else "highest")
    return jax


def convolve(jax: Any, x: Any, filters: Any, pad: int) -> Any:
    """A correlation, as all libraries but owl have it."""
    order = ("NCHW", "OIHW", "NCHW")
    return jax.lax.conv_general_dilated(x, filters, (1, 1), [(pad, pad)] * 2, dimension_numbers=order)


class Step:
    """A training step by ``jax.grad``, one function of parameters and batch."""

    def __init__(self, net: str, parameters: dict[str, np.ndarray], rate: float, tf32: bool) -> None:
        self.jax = jax = _jax(tf32)
        self.image = (784,) if net == "perceptron" else (1, 28, 28)
        forward = self.perceptron if net == "perceptron" else self.convolution
        self.held = {name: jax.device_put(self.turned(name, value)) for name, value in parameters.items()}

        def loss(held: Any, x: Any, y: Any) -> Any:
            return -(y * jax.nn.log_softmax(forward(held, x))).sum()

        def step(held: Any, x: Any, y: Any) -> Any:
            gradients = jax.grad(loss)(held, x, y)
            return {name: value - rate * gradients[name] for name, value in held.items()}

        self.step = jax.jit(step, donate_argnums=0)

    def turned(self, name: str, value: np.ndarray) -> np.ndarray:
        """Filters are turned round: owl convolves."""
        if value.ndim == 4:
            return np.ascontiguousarray(value[:, :, ::-1, ::-1])
        return value.reshape(-1) if name[0] == "b" else value

    def perceptron(self, held: Any, x: Any) -> Any:
        return self.jax.nn.relu(x @ held["w1"] + held["b1"]) @ held["w2"] + held["b2"]

    def convolution(self, held: Any, x: Any) -> Any:
        for layer, pad, size in (("1", 0, 2), ("2", 2, 3)):
            x = convolve(self.jax, x, held["w" + layer], pad) + held["b" + layer][:, None, None]
            window = (1, 1, size, size)
            x = self.jax.lax.reduce_window(self.jax.nn.relu(x), -np.inf, self.jax.lax.max, window, window, "VALID")
        return x.reshape(len(x), -1) @ held["w3"] + held["b3"]

    def __call__(self, x: np.ndarray, y: np.ndarray) -> None:
        x, y = self.jax.device_put((x.reshape(len(x), *self.image), y))
        self.held = self.step(self.held, x, y)

    def finish(self) -> None:
        self.jax.block_until_ready(self.held)

    def parameters(self) -> dict[str, np.ndarray]:
        return {name: self.turned(name, np.asarray(value)) for name, value in self.held.items()}


def calls(options: argparse.Namespace, numbers: Callable[[str, argparse.Namespace], list[np.ndarray]]) -> Any:
    """A contestant of `benchmarks.gpu.arrays`, with TF32 off; ``numbers`` gives a case's arrays."""
    jax = _jax(tf32=False)
    functions: dict[str, Any] = {
        "scale and add": lambda x, y: x * 2 + y,
        "six operations": lambda x, y: jax.nn.relu(jax.numpy.tanh(x * 2 + y) * x - y * 0.5),
        "product": lambda x, y: x @ y,
        "convolution": lambda x, y: convolve(jax, x, y[:, :, ::-1, ::-1], 2),
    }

    def make(case: str) -> Any:
        function = functions.get(case) or functions.get(case.split()[0])
        if function is None:
            return None
        compiled = jax.jit(function)
        x, y = jax.device_put(numbers(case, options))
        last: list[Any] = []

        def call() -> Any:
            last[:] = [compiled(x, y)]
            return last[0]

        return call, lambda: jax.block_until_ready(last), np.asarray

    return make
