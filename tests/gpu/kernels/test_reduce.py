"""The CUDA kernels for reductions, compiled as C++, have the bits of owl's CPU kernels."""

import ctypes
import itertools
import random

import numpy as np
import pytest

import owl
from tests.agreement import DTYPES, same_bits, same_numbers
from tests.gpu.kernels.launching import MAX_DIMS, SUM_GROUP

OPERATIONS = ["sum", "max", "min", "argmax", "argmin"]  # as the kernels number them
SHORT_RUN, PIECE, PIECES = 64, 2048, 16


class Walk(ctypes.Structure):
    """ReduceWalk of args.h."""

    _fields_ = [
        ("count", ctypes.c_int64 * (MAX_DIMS // 2)),
        ("stride", ctypes.c_int64 * (MAX_DIMS // 2)),
        ("total", ctypes.c_int64),
        ("ndim", ctypes.c_int64),
    ]

    def add(self, count, stride):
        self.count[self.ndim], self.stride[self.ndim] = count, stride
        self.ndim += 1
        self.total *= count


class Launch(ctypes.Structure):
    """ReduceLaunch of args.h."""

    _fields_ = [
        ("kept", Walk),
        ("reduced", Walk),
        ("run", ctypes.c_int64),
        ("pieces", ctypes.c_int64),
        ("groups", ctypes.c_int64),
        ("scale", ctypes.c_double),
        ("x", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("part", ctypes.c_void_p),
        ("op", ctypes.c_uint8),
    ]


def described(shape, axes):
    """A launch for a dense array of owl's shape: neighboring dimensions of a kind are one, those of 1 are none."""
    dims = [(size, int(np.prod(shape[:d], dtype=int)), d in axes) for d, size in enumerate(shape) if size != 1]
    merged = []
    for dropped, group in itertools.groupby(dims, key=lambda dim: dim[2]):
        dims = list(group)
        merged.append((int(np.prod([size for size, _, _ in dims])), dims[0][1], dropped))
    launch = Launch(run=1)
    launch.kept.total = launch.reduced.total = 1
    if merged and merged[0][2] and 0 not in [size for size, _, dropped in merged if dropped]:
        launch.run = merged.pop(0)[0]
    for size, stride, dropped in merged:
        (launch.reduced if dropped else launch.kept).add(size, stride)
    return launch


def on_cuda(kernels, x, operation, axes, *, blocks=1, seed=1, split=False, scale=1.0):
    """`x` has owl's dimensions reversed. `split`: groups of short runs are a thread's, and are added by a launch."""
    shape = x.shape[::-1]
    launch = described(shape, axes)
    outputs = launch.kept.total
    y = np.full(outputs + 16, 7, x.dtype)
    launch.x, launch.y, launch.op, launch.scale = x.ctypes.data, y.ctypes.data, OPERATIONS.index(operation), scale
    launch.pieces = -(-launch.run // PIECE)
    is_long = launch.run > SHORT_RUN
    if is_long:
        launch.groups = -(-launch.pieces * launch.reduced.total // PIECES)
        split, names = launch.groups > 1, ["reduce_pieces", "reduce_pairs"]
    else:
        launch.groups = max(1, -(-launch.reduced.total // SUM_GROUP))
        names = ["reduce_lines", "reduce_groups"]
    if operation in ("argmax", "argmin"):
        split, launch.groups, names = False, 1, ["argmax_long" if is_long else "argmax_lines"]
    part = np.full(outputs * launch.groups + 16, 7, x.dtype)
    if split:
        launch.part = part.ctypes.data
    for name in names[: 1 + split]:
        kernels.run(f"{name}_f{8 * x.itemsize}", launch, blocks, seed)
    assert (y[outputs:] == 7).all()
    assert (part[outputs * launch.groups :] == 7).all()
    return y[:outputs].reshape([1 if d in axes else size for d, size in enumerate(shape)][::-1])


def on_cpu(x, operation, axes):
    method = getattr(owl.from_numpy(x, dtype=x.dtype), operation)
    return method(axes[0] if operation in ("argmax", "argmin") else axes).to_numpy()


def numbers(rng, shape, dtype, special=0.0):
    """A NumPy array for owl's shape."""
    x = rng.standard_normal(shape[::-1]) * 10.0 ** rng.integers(-3, 4, shape[::-1])
    specials = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42])
    return np.where(rng.random(x.shape) < special, rng.choice(specials, x.shape), x).astype(dtype)


def check(kernels, x, operation, axes):
    wanted = on_cpu(x, operation, axes)
    for blocks, split in ((1, False), (2, True), (5, False), (40, True)):
        same_numbers(on_cuda(kernels, x, operation, axes, blocks=blocks, seed=blocks, split=split), wanted)


# Around the ends of runs, groups, pieces and groups of pieces; alternating dimensions, up to the most.
CASES = [
    ([1], [0]), ([5], [0]), ([5], []), ([1, 1, 3], [0, 2]), ([64, 7], [0]), ([65, 7], [0]), ([200, 33], [0]),
    ([300, 7], [1]), ([3, 240], [1]), ([3, 241], [1]), ([7, 1000], [1]), ([2, 481, 3], [1]), ([10, 3, 300], [0, 2]),
    ([2, 3, 600], [0, 2]), ([70, 3, 40], [0, 2]), ([2048, 2], [0]), ([2049, 2], [0]), ([2048, 2, 17], [0, 2]),
    ([2048 * 16], [0]), ([2048 * 16 + 1], [0]), ([100, 5, 16], [0, 2]), ([100, 5, 17], [0, 2]), ([300_000], [0]),
    ([65, 2, 300], [0, 2]), ([2, 3, 4, 5, 2, 3, 2, 2], [0, 2, 4, 6]), ([2, 3, 4, 5, 2, 3, 2, 2], [1, 3, 5, 7]),
    ([2, 3, 20, 5, 20, 3], [0, 2, 4]), ([3, 2, 5, 20, 3, 20], [1, 3, 5]), ([4, 5, 6], [1, 2]), ([4, 5, 6], [0, 1]),
    ([900, 40], [1]),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS[:3])
@pytest.mark.parametrize(("shape", "axes"), CASES)
def test_a_reduction(kernels, shape, axes, operation, dtype):
    check(kernels, numbers(np.random.default_rng(1), shape, dtype), operation, axes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "axis"),
    [([1], 0), ([10, 300], 0), ([64, 5], 0), ([65, 5], 0), ([3000, 3], 0), ([5, 300], 1), ([2, 90, 3], 1)],
)
@pytest.mark.parametrize("operation", ["argmax", "argmin"])
@pytest.mark.parametrize("kind", ["usual", "special", "equal", "-inf", "inf", "nan"])
def test_positions(kernels, kind, operation, shape, axis, dtype):
    rng = np.random.default_rng(2)
    x = {
        "usual": numbers(rng, shape, dtype),
        "special": numbers(rng, shape, dtype, special=0.02),
        "equal": rng.integers(0, 3, shape[::-1]).astype(dtype),
        "inf": np.full(shape[::-1], np.inf, dtype),
        "-inf": np.full(shape[::-1], -np.inf, dtype),
        "nan": np.full(shape[::-1], np.nan, dtype),
    }[kind]
    check(kernels, x, operation, [axis])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("seed", range(60))
def test_random_reductions(kernels, seed):
    coin = random.Random(seed)
    shape = [coin.choice([1, 2, 3, 5, 17, 66, 250]) for _ in range(coin.randint(1, MAX_DIMS))]
    while np.prod(shape) > 60_000:
        shape[coin.randrange(len(shape))] = 1
    axes = [d for d in range(len(shape)) if coin.random() < 0.5] or [0]
    operation = coin.choice(OPERATIONS)
    if operation in ("argmax", "argmin"):
        axes = axes[:1]
    x = numbers(np.random.default_rng(seed), shape, coin.choice(DTYPES), special=coin.choice([0, 0.001, 0.2]))
    check(kernels, x, operation, axes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [[70, 3], [5, 700], [3, 5, 300], [40_000]])
def test_a_mean(kernels, shape, dtype):
    x = numbers(np.random.default_rng(3), shape, dtype)
    axes = [d for d in range(len(shape)) if shape[d] != 5]
    wanted = owl.from_numpy(x, dtype=dtype).mean(axes).to_numpy()
    for split in (False, True):
        found = on_cuda(kernels, x, "sum", axes, split=split, blocks=3, scale=wanted.size / x.size)
        same_bits(found, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axes"), [([0], [0]), ([3, 0], [1]), ([0, 3], [0]), ([5, 3, 0], [0, 2])])
def test_a_sum_of_nothing(kernels, shape, axes, dtype):
    check(kernels, np.zeros(shape[::-1], dtype), "sum", axes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [[5, 300], [300, 5], [40_000]])
def test_zeros_keep_the_sign_that_they_have_on_a_cpu(kernels, shape, dtype):
    x = np.full(shape[::-1], -0.0, dtype)
    for operation in OPERATIONS[:3]:
        check(kernels, x, operation, [0])


@pytest.mark.parametrize("groups", [2, 8, 9, 16, 17, 31, 64, 65, 100, 1000, 3001])
def test_groups_of_pieces_are_added_by_halves(kernels, groups):
    def halves(x):
        if len(x) > 8:
            return halves(x[: len(x) // 2]) + halves(x[len(x) // 2 :])
        total = x[0]
        for y in x[1:]:
            total = total + y
        return total

    part = np.random.default_rng(4).standard_normal((3, groups)).astype(np.float32)
    wanted = np.array([halves(row) for row in part])
    y = np.full(3, 7, np.float32)
    launch = described([100, 3], [0])
    launch.groups, launch.scale, launch.part, launch.y = groups, 1, part.ctypes.data, y.ctypes.data
    kernels.run("reduce_pairs_f32", launch, 2)
    same_bits(y, wanted)
