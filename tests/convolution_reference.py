"""Convolution, pooling and normalization in float64, by scipy.signal and plain loops.

Arrays are NumPy's: data ``[batch, channels, h, w]``, filters ``[out, in, kh, kw]``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

import owl.conv as conv

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Convolution:
    """A convolution by its definition."""

    pad: tuple[int, int] = (0, 0)  # vertical, horizontal
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def convolver(self) -> conv.Convolver:
        """The same in owl."""
        return conv.Convolver(
            *self.pad, *self.stride, dilation_v=self.dilation[0], dilation_h=self.dilation[1], groups=self.groups
        )

    def result(self, size: tuple[int, int], kernel: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the result; below 1 if the kernel does not fit."""
        return tuple(
            (n + 2 * p - (k - 1) * d - 1) // s + 1
            for n, k, p, s, d in zip(size, kernel, self.pad, self.stride, self.dilation)
        )

    def dilated(self, w: Array) -> Array:
        size = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], self.dilation)]
        out = np.zeros((*w.shape[:2], *size))
        out[:, :, :: self.dilation[0], :: self.dilation[1]] = w
        return out

    def padded(self, x: Array) -> Array:
        return np.pad(x, [(0, 0), (0, 0), (self.pad[0],) * 2, (self.pad[1],) * 2])

    def spread(self, y: Array, x: Array, w: Array) -> Array:
        """A gradient with zeros where the stride left results out."""
        full = [n + 2 * p - k + 1 for n, p, k in zip(x.shape[2:], self.pad, self.dilated(w).shape[2:])]
        out = np.zeros((*y.shape[:2], *full))
        out[:, :, :: self.stride[0], :: self.stride[1]] = y
        return out

    def by_group(self, *arrays: Array) -> list[list[Array]]:
        return [list(parts) for parts in zip(*(np.split(a, self.groups, axis) for a, axis in zip(arrays, (1, 0, 1))))]

    def forward(self, x: Array, w: Array) -> Array:
        parts = []
        for data, filters in self.by_group(self.padded(x), self.dilated(w)):
            # A valid convolution over the channels, with these turned round, adds them up.
            images = [[signal.convolve(image, f[::-1], "valid", "direct")[0] for f in filters] for image in data]
            parts.append(np.array(images)[:, :, :: self.stride[0], :: self.stride[1]])
        return np.concatenate(parts, 1)

    def data_gradient(self, y: Array, x: Array, w: Array) -> Array:
        parts = []
        rim = [(0, 0), *((k - 1, k - 1) for k in self.dilated(w).shape[2:])]
        for _, filters, gradient in self.by_group(x, self.dilated(w), self.spread(y, x, w)):
            # Valid over the channels, which adds them up, and full over the pixels.
            by_channel = filters.swapaxes(0, 1)
            parts.append(
                [[signal.correlate(np.pad(g, rim), f, "valid", "direct")[0] for f in by_channel] for g in gradient]
            )
        full = np.concatenate([np.array(part) for part in parts], 1)
        rows, columns = x.shape[2:]
        return full[:, :, self.pad[0] : self.pad[0] + rows, self.pad[1] : self.pad[1] + columns]

    def filter_gradient(self, y: Array, x: Array, w: Array) -> Array:
        parts = []
        for data, _, gradient in self.by_group(self.padded(x), w, self.spread(y, x, w)):
            parts.append(
                [
                    [
                        signal.correlate(data[:, c], gradient[:, o], "valid", "direct")[0, ::-1, ::-1]
                        for c in range(data.shape[1])
                    ]
                    for o in range(gradient.shape[1])
                ]
            )
        full = np.concatenate([np.array(part) for part in parts], 0)
        return full[:, :, :: self.dilation[0], :: self.dilation[1]]


def pooled_size(n: int, window: int, stride: int, pad: int) -> int:
    """How many windows Caffe takes."""
    count = -(-(n + 2 * pad - window) // stride) + 1
    return count - 1 if (count - 1) * stride >= n + pad else count


@dataclass(frozen=True)
class Pooling:
    """A pooling by its definition."""

    window: tuple[int, int]  # height, width
    stride: tuple[int, int]
    pad: tuple[int, int] = (0, 0)
    op: conv.pool_op = conv.pool_op.max

    def pooler(self) -> conv.Pooler:
        """The same in owl."""
        return conv.Pooler(*self.window, *self.stride, *self.pad, self.op)

    def windows(self, x: Array) -> list[list[tuple[slice, slice]]]:
        """The part of each window that lies inside."""

        def spans(n: int, i: int) -> list[slice]:
            count = pooled_size(n, self.window[i], self.stride[i], self.pad[i])
            starts = [k * self.stride[i] - self.pad[i] for k in range(count)]
            return [slice(max(start, 0), min(start + self.window[i], n)) for start in starts]

        return [[(row, column) for column in spans(x.shape[3], 1)] for row in spans(x.shape[2], 0)]

    def forward(self, x: Array) -> Array:
        area = self.window[0] * self.window[1]
        take = (
            (lambda part: part.max((2, 3))) if self.op == conv.pool_op.max else (lambda part: part.sum((2, 3)) / area)
        )
        rows = [np.stack([take(x[:, :, r, c]) for r, c in row], -1) for row in self.windows(x)]
        return np.stack(rows, 2)

    def gradient(self, y: Array, x: Array) -> Array:
        out = np.zeros(x.shape)
        for i, row in enumerate(self.windows(x)):
            for j, (r, c) in enumerate(row):
                part = x[:, :, r, c]
                if self.op == conv.pool_op.max:
                    flat = part.reshape(*part.shape[:2], -1)
                    share = (np.arange(flat.shape[2]) == flat.argmax(2)[:, :, None]).reshape(part.shape)
                else:
                    share = np.full(part.shape, 1 / (self.window[0] * self.window[1]))
                out[:, :, r, c] += share * y[:, :, i, j, None, None]
        return out


def normalization(x: Array, local_size: int, alpha: float, beta: float) -> tuple[Array, Array]:
    """The normalized data and its scale."""
    half = local_size // 2
    squares = np.pad(x * x, [(0, 0), (half, half), (0, 0), (0, 0)])
    near = sum(squares[:, i : i + x.shape[1]] for i in range(local_size))
    scale = 1 + alpha / local_size * near
    return x * scale**-beta, scale
