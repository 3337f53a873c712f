"""Convolution, pooling and normalisation of NumPy arrays ``[batch, channels, h, w]``, by their definitions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

Array = np.ndarray


def _windows(x: Array, kernel: tuple[int, int], pad: int, stride: int) -> Array:
    """Of shape ``[batch, channels, h, w, kernel h, kernel w]``."""
    padded = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    return np.lib.stride_tricks.sliding_window_view(padded, kernel, (2, 3))[:, :, ::stride, ::stride]


def convolve(x: Array, w: Array, pad: int, stride: int) -> Array:
    """True convolution: the filters ``[out, in, h, w]`` are turned round. A group has as many channels as they take."""
    if x.shape[1] > w.shape[1]:
        return np.concatenate([convolve(part, filters, pad, stride) for part, filters in _groups(x, w)], 1)
    return np.einsum("nchwkl,ockl->nohw", _windows(x, w.shape[2:], pad, stride), w[:, :, ::-1, ::-1])


def _groups(x: Array, w: Array, *y: Array) -> Iterable[tuple[Array, ...]]:
    count = x.shape[1] // w.shape[1]
    return zip(np.split(x, count, 1), np.split(w, count), *(np.split(array, count, 1) for array in y))


def data_gradient(y: Array, x: Array, w: Array, pad: int, stride: int) -> Array:
    if x.shape[1] > w.shape[1]:
        return np.concatenate([data_gradient(g, part, f, pad, stride) for part, f, g in _groups(x, w, y)], 1)
    out = np.zeros((*x.shape[:2], x.shape[2] + 2 * pad, x.shape[3] + 2 * pad))
    rows, columns = y.shape[2:]
    for k in range(w.shape[2]):
        for m in range(w.shape[3]):
            part = np.einsum("nohw,oc->nchw", y, w[:, :, -1 - k, -1 - m])
            out[:, :, k : k + stride * rows : stride, m : m + stride * columns : stride] += part
    return out[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]]


def filter_gradient(y: Array, x: Array, w: Array, pad: int, stride: int) -> Array:
    if x.shape[1] > w.shape[1]:
        return np.concatenate([filter_gradient(g, part, f, pad, stride) for part, f, g in _groups(x, w, y)])
    windows = _windows(x, w.shape[2:], pad, stride)[:, :, : y.shape[2], : y.shape[3]]
    return np.einsum("nchwkl,nohw->ockl", windows, y)[:, :, ::-1, ::-1]


def _spans(n: int, window: int, stride: int, pad: int) -> list[slice]:
    """The part of each window that lies inside; there are as many as Caffe takes."""
    count = -(-(n + 2 * pad - window) // stride) + 1
    count -= (count - 1) * stride >= n + pad
    starts = [k * stride - pad for k in range(count)]
    return [slice(max(start, 0), min(start + window, n)) for start in starts]


def pool(x: Array, window: int, stride: int, pad: int, mean: bool) -> Array:
    rows, columns = (_spans(n, window, stride, pad) for n in x.shape[2:])
    take = (lambda part: part.sum((2, 3)) / window**2) if mean else (lambda part: part.max((2, 3)))
    return np.stack([np.stack([take(x[:, :, r, c]) for c in columns], -1) for r in rows], 2)


def pool_gradient(y: Array, x: Array, window: int, stride: int, pad: int, mean: bool) -> Array:
    out = np.zeros(x.shape)
    for i, r in enumerate(_spans(x.shape[2], window, stride, pad)):
        for j, c in enumerate(_spans(x.shape[3], window, stride, pad)):
            part = x[:, :, r, c]
            share: Array | float = 1 / window**2
            if not mean:
                flat = part.reshape(*part.shape[:2], -1)
                share = (np.arange(flat.shape[2]) == flat.argmax(2)[:, :, None]).reshape(part.shape)
            out[:, :, r, c] += share * y[:, :, i, j, None, None]
    return out


def _near(x: Array, size: int) -> Array:
    """Sums over neighbouring channels."""
    half = size // 2
    padded = np.pad(x, [(0, 0), (half, half), (0, 0), (0, 0)])
    return np.sum([padded[:, i : i + x.shape[1]] for i in range(size)], axis=0)


def normalisation_scale(x: Array, size: int, alpha: float) -> Array:
    return 1 + alpha / size * _near(x * x, size)


def normalise(x: Array, size: int, alpha: float, beta: float) -> Array:
    return x * normalisation_scale(x, size, alpha) ** -beta


def normalisation_gradient(y: Array, x: Array, size: int, alpha: float, beta: float) -> Array:
    scale = normalisation_scale(x, size, alpha)
    return y * scale**-beta - 2 * alpha * beta / size * x * _near(y * x * scale ** (-beta - 1), size)
