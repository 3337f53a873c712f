"""The CUDA kernels for copies, compiled as C++: every number arrives, and nothing beside them is touched."""

import ctypes
import random

import numpy as np
import pytest

from tests.gpu.kernels.launching import MAX_DIMS

TILE = 32
NAMES = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64", np.dtype(np.uint8): "u8"}
CONVERSIONS = [
    (np.float32, np.float32), (np.float32, np.float64), (np.float64, np.float32), (np.float64, np.float64),
    (np.uint8, np.float32), (np.uint8, np.float64), (np.uint8, np.uint8),
]  # fmt: skip


class Copy(ctypes.Structure):
    """CopyLaunch of args.h."""

    _fields_ = [
        ("size", ctypes.c_int64),
        ("shape", ctypes.c_int64 * MAX_DIMS),
        ("src_stride", ctypes.c_int64 * MAX_DIMS),
        ("dst_stride", ctypes.c_int64 * MAX_DIMS),
        ("src", ctypes.c_void_p),
        ("dst", ctypes.c_void_p),
        ("ndim", ctypes.c_int64),
    ]


def launch(src, dst):
    """Both have one shape, with the destination's fastest dimension last; strides of any sign."""
    copy = Copy(size=src.size, src=src.ctypes.data, dst=dst.ctypes.data, ndim=src.ndim)
    copy.shape[: src.ndim] = src.shape[::-1]
    copy.src_stride[: src.ndim] = [stride // src.itemsize for stride in src.strides[::-1]]
    copy.dst_stride[: src.ndim] = [stride // dst.itemsize for stride in dst.strides[::-1]]
    return copy


def numbers(rng, shape, dtype):
    if dtype == np.uint8:
        return rng.integers(0, 255, shape, dtype=np.uint8, endpoint=True)
    return (rng.standard_normal(shape) * 10.0 ** rng.integers(-40, 38, shape)).astype(dtype)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("source", "target"), CONVERSIONS)
def test_a_region_is_copied_and_nothing_else(kernels, source, target, seed):
    coin, rng = random.Random(seed), np.random.default_rng(seed)
    shape = coin.choice([(1,), (900,), (17, 40), (3, 1, 50), (2, 3, 2, 3, 7)])
    double = tuple(2 * n for n in shape)
    spaced = tuple(slice(None, None, 2) for _ in shape)
    backwards = tuple(slice(None, None, -1) if coin.random() < 0.3 else slice(None) for _ in shape)
    src = numbers(rng, double, source)[spaced][backwards]
    if coin.random() < 0.3:
        src = np.broadcast_to(src[:1], shape)
    whole = np.full(double, 7, target)
    wanted = whole.copy()
    wanted[spaced] = src.astype(target)
    name = f"copy_{NAMES[np.dtype(source)]}_{NAMES[np.dtype(target)]}_{'i64' if seed % 2 else 'i32'}"
    kernels.run(name, launch(src, whole[spaced]), max(1, src.size // (2 * kernels.threads(name))), seed)
    assert np.array_equal(whole, wanted)


@pytest.mark.parametrize("shape", [(1, 1), (32, 32), (33, 70), (3, 100, 5), (2, 3, 40, 31)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_transpose_goes_through_tiles(kernels, dtype, shape):
    rng = np.random.default_rng(1)
    src = rng.standard_normal((*shape[:-2], shape[-1], shape[-2])).astype(dtype).swapaxes(-1, -2)
    dst = np.full(shape, 7, dtype)
    planes = int(np.prod(shape[:-2]))
    blocks = planes * -(-shape[-1] // TILE) * -(-shape[-2] // TILE)
    kernels.run(f"copy_transposed_{dst.itemsize}", launch(src, dst), blocks, 3)
    assert np.array_equal(dst, src)
