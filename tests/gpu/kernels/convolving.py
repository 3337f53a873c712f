"""Launches of the CUDA kernels for convolution, pooling and normalization, and numbers for them.

Arrays are NumPy's: data ``[batch, channels, h, w]``, filters ``[out, in, kh, kw]``.
"""

from __future__ import annotations

import ctypes
import math
import random
from collections.abc import Sequence

import numpy as np

from tests.convolution_reference import Convolution, Pooling, pooled_size


def words(names: str) -> list[tuple[str, type]]:
    return [(name, ctypes.c_int64) for name in names.split()]


def addresses(names: str) -> list[tuple[str, type]]:
    return [(name, ctypes.c_void_p) for name in names.split()]


class Axis(ctypes.Structure):
    """ConvAxis of args.h."""

    _fields_ = words("source result taps step classes lead slope tap_step")


class Window(ctypes.Structure):
    """PoolWindow of the engine."""

    _fields_ = [("op", ctypes.c_uint8), *words("w h stride_w stride_h pad_w pad_h out_w out_h")]


class Conv(ctypes.Structure):
    """ConvLaunch of args.h."""

    _fields_ = [
        ("x", Axis),
        ("y", Axis),
        *words("sources results groups batch source_step result_step"),
        *addresses("source filter bias result"),
        ("pool", Window),
        *addresses("positions"),
        *words("relu"),
    ]


class Sizes(ctypes.Structure):
    """ConvolutionSizes of the engine."""

    _fields_ = words(
        "w h c_in batch kw kh c_out pad_w pad_h stride_w stride_h dilation_w dilation_h groups out_w out_h"
    )


class Gradient(ctypes.Structure):
    """ConvGradientLaunch of args.h."""

    _fields_ = [
        ("sizes", Sizes),
        *words("parts part_positions elements"),
        *addresses("x y_diff part gradient"),
    ]


class Pool(ctypes.Structure):
    """PoolLaunch of args.h."""

    _fields_ = [
        *words("w h planes"),
        ("op", ctypes.c_uint8),
        *words("window_w window_h stride_w stride_h pad_w pad_h out_w out_h position_bytes"),
        *addresses("positions x y y_diff mask x_diff"),
    ]


class Lrn(ctypes.Structure):
    """LrnLaunch of args.h."""

    _fields_ = [
        *words("inner channels batch half"),
        ("share", ctypes.c_double),
        ("power", ctypes.c_double),
        *addresses("x scale y"),
    ]


class LrnBackward(ctypes.Structure):
    """LrnBackwardLaunch of args.h."""

    _fields_ = [
        *words("inner channels batch half"),
        ("factor", ctypes.c_double),
        ("power", ctypes.c_double),
        *addresses("x y scale y_diff x_diff"),
    ]


def numbers(rng: np.random.Generator, shape: Sequence[int], dtype: type, *, special: bool = False) -> np.ndarray:
    """Numbers of many sizes, so that another order of additions is seen.

    With `special`, infinities and their kin are among them.
    """
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 3, shape)
    if special:
        # Products of the tiny ones are -0 or 0.
        some = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30])
        x = np.where(rng.random(shape) < 0.03, rng.choice(some, shape), x)
        tiny = np.finfo(dtype).tiny
        x = np.where(rng.random(shape) < 0.5 * (rng.random() < 0.5), tiny * rng.choice([-1, 1], shape), x)
    return x.astype(dtype)


class Case:
    """A convolution with its sizes, drawn by a seed."""

    def __init__(self, seed: int, channels: tuple[int, int]) -> None:
        coin = random.Random(seed)
        while True:
            pair = lambda *choices: (coin.choice(choices), coin.choice(choices))  # noqa: E731
            self.kernel = pair(1, 2, 3, 5)
            self.size = pair(1, 4, 7, 12)
            groups = coin.choice([1, 1, 2, 3])
            self.c = Convolution(pair(0, 1, 2, 4), pair(1, 1, 2, 3), pair(1, 1, 2, 3), groups)
            self.out = self.c.result(self.size, self.kernel)
            if min(self.out) >= 1:
                break
        self.batch = coin.choice([1, 2, 5])
        self.group_in, self.group_out = (coin.randint(*channels) for _ in range(2))
        self.c_in, self.c_out = groups * self.group_in, groups * self.group_out

    def arrays(
        self, rng: np.random.Generator, dtype: type, *, special: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Data, filters and a gradient of the result."""
        return (
            numbers(rng, (self.batch, self.c_in, *self.size), dtype, special=special),
            numbers(rng, (self.c_out, self.group_in, *self.kernel), dtype, special=special),
            numbers(rng, (self.batch, self.c_out, *self.out), dtype, special=special),
        )

    def axis(self, d: int, adjoint: bool) -> Axis:
        n, out, taps = self.size[d], self.out[d], self.kernel[d]
        pad, stride, dilation = self.c.pad[d], self.c.stride[d], self.c.dilation[d]
        if adjoint:
            return Axis(out, n, taps, 1, stride, pad, -dilation, stride // math.gcd(stride, dilation))
        return Axis(n, out, taps, stride, 1, -pad, dilation, 1)

    def launch(
        self, source: np.ndarray, filters: np.ndarray, bias: np.ndarray | None, result: np.ndarray, *, adjoint: bool
    ) -> Conv:
        area = self.kernel[0] * self.kernel[1]
        counts = (self.group_out, self.group_in) if adjoint else (self.group_in, self.group_out)
        steps = (area * self.group_in, area) if adjoint else (area, area * self.group_in)
        pointers = [0 if x is None else x.ctypes.data for x in (source, filters, bias, result)]
        return Conv(self.axis(1, adjoint), self.axis(0, adjoint), *counts, self.c.groups, self.batch, *steps, *pointers)

    def sizes(self) -> Sizes:
        turned = (values[::-1] for values in (self.c.pad, self.c.stride, self.c.dilation))
        return Sizes(
            *self.size[::-1], self.c_in, self.batch, *self.kernel[::-1], self.c_out,
            *(n for pair in turned for n in pair), self.c.groups, *self.out[::-1],
        )  # fmt: skip


def pool_window(p: Pooling, size: Sequence[int]) -> Window:
    """Of data of that height and width."""
    out = [pooled_size(n, *each) for n, *each in zip(size, p.window, p.stride, p.pad)]
    return Window(1 if p.op.name == "max" else 2, *p.window[::-1], *p.stride[::-1], *p.pad[::-1], *out[::-1])


def pool_launch(p: Pooling, x: np.ndarray) -> tuple[Pool, tuple[int, int]]:
    """A launch without arrays, and the pooled height and width."""
    planes, h, w = x.shape[0] * x.shape[1], *x.shape[2:]
    out = tuple(pooled_size(n, *each) for n, *each in zip((h, w), p.window, p.stride, p.pad))
    launch = Pool(
        w, h, planes, 1 if p.op.name == "max" else 2, *p.window[::-1], *p.stride[::-1], *p.pad[::-1], *out[::-1]
    )
    return launch, (out[0], out[1])
