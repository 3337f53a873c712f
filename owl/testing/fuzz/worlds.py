"""The operations of programs twice: on float64 NumPy arrays, and on owl's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import owl
import owl.testing
from owl import elewise

UNARY = ("relu", "sigm", "tanh", "exp", "abs", "square", "trans", "double", "copy", "flat", "softmax")
BINARY = ("add", "sub", "mult", "maximum", "relu_back", "sigm_back", "matmul", "matmul_tn", "matmul_nt")
REDUCTIONS = ("sum", "mean", "max", "argmax")
STEPS = (
    "relu_back",
    "argmax",
)  # not continuous: float32 need not follow float64, and only bits are compared after them


class NumpyWorld:
    """Operations over float64; shapes are owl's reversed. A value is exact, or only its shape and rough size are."""

    def leaf(self, values: np.ndarray, borrow: bool) -> np.ndarray:
        return values.astype(np.float64)

    def unary(self, name: str, x: np.ndarray) -> np.ndarray:
        if name in ("trans", "copy", "flat", "softmax", "square", "double"):
            return {
                "trans": lambda: x.T,
                "copy": lambda: x,
                "flat": lambda: x.reshape(1, -1),
                "softmax": lambda: owl.testing.softmax_oracle(x),
                "square": lambda: x * x,
                "double": lambda: x + x,
            }[name]()
        return owl.testing.oracles[name](x)

    def binary(self, name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if name.startswith("matmul"):
            return (y.T if name == "matmul_nt" else y) @ (x.T if name == "matmul_tn" else x)
        if name in ("add", "sub"):
            return x + y if name == "add" else x - y
        return owl.testing.oracles[name](x, y)

    def number(self, x: np.ndarray, which: int, value: float) -> np.ndarray:
        return (x + value, x * value, value - x, x / value)[which]

    def reduce(self, name: str, x: np.ndarray, axis: int) -> np.ndarray:
        if name == "argmax":
            return np.expand_dims(x.argmax(1 - axis), 1 - axis).astype(np.float64)
        return getattr(x, name)(axis=1 - axis, keepdims=True)

    def slice(self, x: np.ndarray, axis: int, start: int, count: int) -> np.ndarray:
        return x[:, start : start + count] if axis == 0 else x[start : start + count]

    def concat(self, x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.concatenate([x, y], 1 - axis)


class OwlWorld:
    """Runs a program's statements as owl operations."""

    def leaf(self, values: np.ndarray, borrow: bool) -> owl.NArray:
        return owl.from_numpy(values, copy=not borrow)

    def unary(self, name: str, x: owl.NArray) -> owl.NArray:
        special: dict[str, Callable[[], owl.NArray]] = {
            "trans": x.trans,
            "copy": x.copy,
            "flat": lambda: x.reshape([x.size, 1]),
            "softmax": lambda: owl.conv.softmax(x),
            "square": lambda: elewise.mult(x, x),
            "double": lambda: x + x,
        }
        return special[name]() if name in special else getattr(elewise, name)(x)

    def binary(self, name: str, x: owl.NArray, y: owl.NArray) -> owl.NArray:
        if name.startswith("matmul"):
            return (x.trans() if name == "matmul_tn" else x) * (y.trans() if name == "matmul_nt" else y)
        if name in ("add", "sub"):
            return x + y if name == "add" else x - y
        return getattr(elewise, name)(x, y)

    def number(self, x: owl.NArray, which: int, value: float) -> owl.NArray:
        return (lambda: x + value, lambda: x * value, lambda: value - x, lambda: x / value)[which]()

    def reduce(self, name: str, x: owl.NArray, axis: int) -> owl.NArray:
        return getattr(x, name)(axis)

    def slice(self, x: owl.NArray, axis: int, start: int, count: int) -> owl.NArray:
        return owl.slice(x, axis, start, count)

    def concat(self, x: owl.NArray, y: owl.NArray, axis: int) -> owl.NArray:
        return owl.concat([x, y], axis)
