"""The operations of programs twice: on float64 NumPy arrays, and on owl's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import owl
import owl.testing
from owl import elewise
from owl.testing.fuzz import nets

UNARY = ("relu", "sigm", "tanh", "exp", "abs", "square", "trans", "double", "copy", "flat", "softmax", "negative",
         "root", "log", "tanh_back", "sigm_back", "cube", "clip", "cast", "move", "channels", "backwards")  # fmt: skip
BINARY = ("add", "sub", "mult", "maximum", "relu_back", "sigm_back", "matmul", "matmul_tn", "matmul_nt", "minimum",
          "less", "equal", "at_least", "ratio", "tanh_back", "softmax_back")  # fmt: skip
TERNARY = ("where", "clip", "fused")
# Of a function of two arrays, by the first one; "again" computes it anew, "second" is a gradient of a gradient.
GRADIENTS = ("product", "again", "quotient", "softmax", "second", "rows")
REDUCTIONS = ("sum", "mean", "max", "argmax", "min")
NETS = ("convolve", "convolve_relu_pool", "data_gradient", "filter_gradient", "bias_gradient", "max_pool", "avg_pool",
        "max_pool_back", "avg_pool_back", "normalise", "scale", "normalise_back")  # fmt: skip
# Not continuous: float32 need not follow float64, and only bits are compared after them.
STEPS = ("relu_back", "argmax", "less", "equal", "at_least", "where", "max_pool_back")

LRN = (3, 0.5, 0.75)  # size, alpha, beta


def _gpu(index: int = 0, count: int = 1) -> owl.Device:
    """One of the GPUs, or a stand-in where there is none."""
    if not owl.has_cuda():
        owl.testing.standin(devices=count)
    return owl.create_gpu_device(index)


# What programs compute on: two devices of one kind, or one of each.
DEVICES: dict[str, tuple[Callable[[], owl.Device], Callable[[], owl.Device]]] = {
    "cpu": (owl.create_cpu_device, owl.create_cpu_device),
    "remote": (owl.testing.remote_device, owl.testing.remote_device),
    "cpu+remote": (owl.create_cpu_device, owl.testing.remote_device),
    "gpu:0": (_gpu, _gpu),
    "cpu+gpu:0": (owl.create_cpu_device, _gpu),
    "gpu:0+gpu:1": (lambda: _gpu(0, 2), lambda: _gpu(1, 2)),
}
_chosen = ["cpu"]


def choose_devices(kind: str) -> None:
    """What programs compute on from now on, of `DEVICES`."""
    _chosen[0] = kind


def devices() -> tuple[owl.Device, owl.Device]:
    return _made(_chosen[0])


@functools.cache
def _made(kind: str) -> tuple[owl.Device, owl.Device]:
    first, second = DEVICES[kind]
    return first(), second()


class NumpyWorld:
    """Operations over float64; shapes are owl's reversed. A value is exact, or only its shape and rough size are."""

    def leaf(self, values: np.ndarray, borrow: bool) -> np.ndarray:
        return values.astype(np.float64)

    def full(self, shape: Sequence[int], value: float, dtype: Any) -> np.ndarray:
        return np.full(shape[::-1], value, np.float64)

    def unary(self, name: str, x: np.ndarray) -> np.ndarray:
        special: dict[str, Callable[[], np.ndarray]] = {
            "trans": lambda: x.T,
            "copy": lambda: x,
            "cast": lambda: x,
            "move": lambda: x,
            "flat": lambda: x.reshape(1, -1),
            "softmax": lambda: owl.testing.softmax_oracle(x),
            "channels": lambda: owl.testing.softmax_oracle(x, 1),
            "square": lambda: x * x,
            "cube": lambda: x**3,
            "double": lambda: x + x,
            "negative": lambda: -x,
            "root": lambda: np.sqrt(np.abs(x) + 0.25),
            "log": lambda: np.log(np.abs(x) + 0.5),
            "clip": lambda: np.clip(x, -0.5, 0.75),
            "backwards": lambda: x[..., ::-1],
        }
        return special[name]() if name in special else owl.testing.oracles[name](x)

    def binary(self, name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if name.startswith("matmul"):
            return (y.T if name == "matmul_nt" else y) @ (x.T if name == "matmul_tn" else x)
        special: dict[str, Callable[[], np.ndarray]] = {
            "add": lambda: x + y,
            "sub": lambda: x - y,
            "less": lambda: (x < y).astype(np.float64),
            "equal": lambda: (x == y).astype(np.float64),
            "at_least": lambda: (x >= y).astype(np.float64),
            "ratio": lambda: x / (np.abs(y) + 1),
            "softmax_back": lambda: x * (y - (x * y).sum(tuple(range(1, x.ndim)), keepdims=True)),
        }
        return special[name]() if name in special else owl.testing.oracles[name](x, y)

    def gradient(self, name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if name == "quotient":
            return (y * np.exp(-x) / (1 + np.exp(-x)) ** 2) / (np.abs(y) + 1)
        if name == "softmax":
            top = owl.testing.softmax_oracle(x)
            return top * (y - (top * y).sum(tuple(range(1, x.ndim)), keepdims=True))
        if name == "second":
            return 6 * x * y * y
        if name == "rows":
            return np.broadcast_to(2 * x.sum(-1, keepdims=True) * y.mean(), x.shape)
        return y * (1 - np.tanh(x * y) ** 2) + y

    def ternary(self, name: str, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        if name == "where":
            return np.where(x > 0, y, z)
        return np.minimum(np.maximum(x, y), z) if name == "clip" else np.tanh(x * y + z)

    def number(self, x: np.ndarray, which: int, value: float) -> np.ndarray:
        return (x + value, x * value, value - x, x / value)[which]

    def reduce(self, name: str, x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        places = tuple(x.ndim - 1 - axis for axis in axes)
        if name == "argmax":
            return np.expand_dims(x.argmax(places[0]), places[0]).astype(np.float64)
        return getattr(x, name)(axis=places, keepdims=True)

    def slice(self, x: np.ndarray, axis: int, start: int, count: int) -> np.ndarray:
        return x[(slice(None),) * (x.ndim - 1 - axis) + (slice(start, start + count),)]

    def item(self, x: np.ndarray, key: tuple[Any, ...]) -> np.ndarray:
        return x[key[::-1]]

    def reshape(self, x: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        return x.reshape(shape[::-1])

    def permute(self, x: np.ndarray, order: Sequence[int]) -> np.ndarray:
        return x.transpose([x.ndim - 1 - axis for axis in order[::-1]])

    def concat(self, arrays: Sequence[np.ndarray], axis: int) -> np.ndarray:
        return np.concatenate(arrays, arrays[0].ndim - 1 - axis)

    def total(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        return functools.reduce(lambda x, y: x * 0.5 + y, arrays)

    def net(self, name: str, x: np.ndarray, w: np.ndarray, pad: int, stride: int) -> np.ndarray:
        if name.startswith(("max_pool", "avg_pool")):
            y = nets.pool(x, 2, stride, pad, name.startswith("avg"))
            return nets.pool_gradient(y, x, 2, stride, pad, name.startswith("avg")) if name.endswith("back") else y
        if name == "scale":
            return nets.normalisation_scale(x, *LRN[:2])
        if name.startswith("normalise"):
            return nets.normalise(x, *LRN) if name == "normalise" else nets.normalisation_gradient(x + 1, x, *LRN)
        y = nets.convolve(x, w, pad, stride)
        if name == "convolve_relu_pool":
            size = min(2, *y.shape[2:])
            return nets.pool(np.maximum(y + np.arange(w.shape[0])[:, None, None] * 0.5, 0), size, size, 0, False)
        if name == "bias_gradient":
            return y.sum((0, 2, 3))
        if name == "convolve":
            return y
        return (nets.data_gradient if name == "data_gradient" else nets.filter_gradient)(y, x, w, pad, stride)


class OwlWorld:
    """Runs a program's statements as owl operations."""

    def leaf(self, values: np.ndarray, borrow: bool) -> owl.NArray:
        return owl.from_numpy(values, dtype=values.dtype, copy=not borrow)

    def full(self, shape: Sequence[int], value: float, dtype: Any) -> owl.NArray:
        if value in (0, 1):
            return (owl.ones if value else owl.zeros)(shape, dtype=dtype)
        return owl.full(shape, value, dtype=dtype)

    def draw(self, which: int, shape: Sequence[int], dtype: Any) -> owl.NArray:
        if which == 0:
            return owl.randn(shape, 0.25, 0.5, dtype=dtype)
        return owl.randb(shape, 0.4, dtype=dtype) if which == 1 else owl.randu(shape, -1.0, 0.5, dtype=dtype)

    def sure_draw(self, which: int, shape: Sequence[int], dtype: Any) -> owl.NArray:
        """A draw of which all numbers are the same."""
        if which == 0:
            return owl.randn(shape, 0.25, 0.0, dtype=dtype)
        return owl.randb(shape, 1.0, dtype=dtype) if which == 1 else owl.randu(shape, 0.5, 0.5, dtype=dtype)

    def unary(self, name: str, x: owl.NArray) -> owl.NArray:
        special: dict[str, Callable[[], owl.NArray]] = {
            "trans": x.trans,
            "copy": x.copy,
            "cast": lambda: x.astype(np.float64 if x.dtype == np.float32 else np.float32),
            "move": lambda: x.to(devices()[owl.get_device() == devices()[0]]),
            "flat": lambda: x.reshape([x.size, 1]),
            "softmax": lambda: owl.conv.softmax(x),
            "channels": lambda: owl.conv.softmax(x, owl.conv.soft_op.channel),
            "square": lambda: elewise.mult(x, x),
            "cube": lambda: x**3,
            "double": lambda: x + x,
            "negative": lambda: -x,
            "root": lambda: elewise.sqrt(abs(x) + 0.25),
            "log": lambda: elewise.ln(abs(x) + 0.5),
            "clip": lambda: elewise.clip(x, -0.5, 0.75),
            "backwards": lambda: x[::-1],
        }
        return special[name]() if name in special else getattr(elewise, name)(x)

    def binary(self, name: str, x: owl.NArray, y: owl.NArray) -> owl.NArray:
        if name.startswith("matmul"):
            return (x.trans() if name == "matmul_tn" else x) * (y.trans() if name == "matmul_nt" else y)
        special: dict[str, Callable[[], owl.NArray]] = {
            "add": lambda: x + y,
            "sub": lambda: x - y,
            "less": lambda: x < y,
            "equal": lambda: x == y,
            "at_least": lambda: x >= y,
            "ratio": lambda: x / (abs(y) + 1),
            "softmax_back": lambda: owl.NArray.softmax_backward(y, x),
        }
        return special[name]() if name in special else getattr(elewise, name)(x, y)

    def gradient(self, name: str, x: owl.NArray, y: owl.NArray) -> owl.NArray:
        def product(x: owl.NArray, y: owl.NArray) -> owl.NArray:
            return elewise.tanh(elewise.mult(x, y)) + elewise.mult(x, y)

        functions: dict[str, Callable[[owl.NArray, owl.NArray], owl.NArray]] = {
            "product": product,
            "again": owl.remat(product),
            "quotient": lambda x, y: elewise.mult(elewise.sigm(x), y) / (abs(y) + 1),
            "softmax": lambda x, y: elewise.mult(owl.conv.softmax(x), y),
            "second": lambda x, y: elewise.mult(owl.grad(lambda x: elewise.mult(x**3, y).sum())(x), y),
            "rows": lambda x, y: elewise.mult(elewise.mult(x.sum(0), x.sum(0)), y.mean()),
        }
        return owl.grad(lambda x, y: functions[name](x, y).sum())(x, y)

    def ternary(self, name: str, x: owl.NArray, y: owl.NArray, z: owl.NArray) -> owl.NArray:
        if name == "where":
            return elewise.where(x > 0, y, z)
        return elewise.clip(x, y, z) if name == "clip" else elewise.tanh(elewise.mult(x, y) + z)

    def number(self, x: owl.NArray, which: int, value: float) -> owl.NArray:
        return (lambda: x + value, lambda: x * value, lambda: value - x, lambda: x / value)[which]()

    def reduce(self, name: str, x: owl.NArray, axes: Sequence[int]) -> owl.NArray:
        return getattr(x, name)(axes[0] if len(axes) == 1 else list(axes))

    def slice(self, x: owl.NArray, axis: int, start: int, count: int) -> owl.NArray:
        return owl.slice(x, axis, start, count)

    def item(self, x: owl.NArray, key: tuple[Any, ...]) -> owl.NArray:
        return x[key]

    def reshape(self, x: owl.NArray, shape: Sequence[int]) -> owl.NArray:
        return x.reshape(shape)

    def permute(self, x: owl.NArray, order: Sequence[int]) -> owl.NArray:
        return x.trans(order)

    def concat(self, arrays: Sequence[owl.NArray], axis: int) -> owl.NArray:
        return owl.concat(arrays, axis)

    def total(self, arrays: Sequence[owl.NArray]) -> owl.NArray:
        return functools.reduce(lambda x, y: x * 0.5 + y, arrays)

    def net(self, name: str, x: owl.NArray, w: owl.NArray, pad: int, stride: int) -> owl.NArray:
        if name.startswith(("max_pool", "avg_pool")):
            op = owl.conv.pool_op.avg if name.startswith("avg") else owl.conv.pool_op.max
            pooler = owl.conv.Pooler(2, 2, stride, stride, pad, pad, op)
            y = pooler.ff(x)
            return pooler.bp(y, y, x) if name.endswith("back") else y
        if name in ("scale", "normalise", "normalise_back"):
            lrner = owl.conv.Lrner(*LRN)
            scale = owl.zeros(x.shape, dtype=x.dtype)
            y = lrner.ff(x, scale)
            if name == "normalise_back":
                return lrner.bp(x, y, scale, x + 1)
            return scale if name == "scale" else y
        convolver = owl.conv.Convolver(pad, pad, stride, stride, groups=x.shape[2] // w.shape[2])
        if name == "convolve_relu_pool":
            bias = owl.from_numpy(np.arange(w.shape[3]) * 0.5, dtype=x.dtype)
            y = elewise.relu(convolver.ff(x, w, bias))
            size = min(2, *y.shape[:2])
            return owl.conv.Pooler(size, size, size, size).ff(y)
        y = convolver.ff(x, w)
        if name == "convolve":
            return y
        if name == "bias_gradient":
            return convolver.bias_grad(y)
        return (convolver.bp if name == "data_gradient" else convolver.weight_grad)(y, x, w)


class Scaling(OwlWorld):
    """Of an update `x - scale * y` it makes what is to be subtracted."""

    def binary(self, name: str, x: owl.NArray, y: owl.NArray) -> owl.NArray:
        return y
