"""The CUDA kernels for random numbers, compiled as C++, have the bits of owl's CPU kernels."""

import contextlib
import ctypes
import hashlib

import numpy as np
import pytest

import owl
from owl import _runtime
from tests.agreement import DTYPES, same_bits

SIZES = [1, 15, 63, 64, 65, 1000, 20000]
DRAWS = {"normal": owl.randn, "bernoulli": owl.randb, "uniform": owl.randu}
# Those of the generic set round twice where the others fuse a multiplication and an addition.
FUSED = pytest.mark.skipif(_runtime.isa() == "generic", reason="the generic set does not fuse")
DISTRIBUTIONS = [pytest.param("normal", marks=FUSED), "bernoulli", "uniform"]
MASK = 0xFFFFFFFF


class Launch(ctypes.Structure):
    """RandomLaunch of args.h."""

    _fields_ = [
        ("size", ctypes.c_int64),
        ("seed", ctypes.c_uint64),
        ("stream", ctypes.c_uint64),
        ("counter", ctypes.c_uint64),
        ("p0", ctypes.c_double),
        ("p1", ctypes.c_double),
        ("y", ctypes.c_void_p),
        ("distribution", ctypes.c_uint8),
    ]


def on_cuda(kernels, dtype, size, distribution, p0, p1, *, seed=0, stream=0, counter=0, blocks=1, order=1):
    """What a kernel draws; numbers behind the array's end stay as they are."""
    y = np.full(size + 64, 7, dtype)
    args = Launch(size, seed, stream, counter, p0, p1, y.ctypes.data, list(DRAWS).index(distribution))
    kernels.run(f"random_f{8 * y.itemsize}", args, blocks, order)
    assert (y[size:] == 7).all()
    return y[:size]


def on_cpu(dtype, size, distribution, p0, p1, *, seed=0, name=None, counter=0):
    """What owl draws after `counter` other draws, of the stream called `name`."""
    parameters = [p0] if distribution == "bernoulli" else [p0, p1]
    owl.seed(seed)
    with contextlib.nullcontext() if name is None else owl.random_stream(name):
        for _ in range(counter):
            owl.randn([1])
        return DRAWS[distribution]([size], *parameters, dtype=dtype).to_numpy()


def stream_called(name):
    """The number of a stream that is entered in the main thread, whose own is 0 (random_streams.pxi)."""
    if name is None:
        return 0
    text = repr(("name", name, 0)).encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def philox(words, key):
    """Philox 4x32-10 of arrays of words."""
    w0, w1, w2, w3 = (np.asarray(word, np.uint64) for word in words)
    k0, k1 = key
    for _ in range(10):
        p0, p1 = w0 * np.uint64(0xD2511F53), w2 * np.uint64(0xCD9E8D57)
        w0, w1 = (p1 >> np.uint64(32)) ^ w1 ^ np.uint64(k0), p1 & np.uint64(MASK)
        w2, w3 = (p0 >> np.uint64(32)) ^ w3 ^ np.uint64(k1), p0 & np.uint64(MASK)
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return w0, w1, w2, w3


def drawn_words(size, half, *, seed, stream, counter):
    """The words of all elements, by the scheme of philox.h."""
    first = philox((stream & MASK, stream >> 32, half, 0), (seed & MASK, seed >> 32))
    element = np.arange(size, dtype=np.uint64)
    group, place = element // np.uint64(64), element % np.uint64(64)
    block = group * np.uint64(16) + place % np.uint64(16)
    words = philox(
        (block & np.uint64(MASK), block >> np.uint64(32), counter & MASK, counter >> 32), (int(first[0]), int(first[1]))
    )
    return np.choose((place // np.uint64(16)).astype(int), words)


def uniform_numbers(dtype, size, low, high, **draw):
    """The upper 24 or 53 bits times 2^-24 or 2^-53, moved, below `high`."""
    low, high = dtype(low), dtype(high)
    upper = drawn_words(size, 0, **draw)
    if dtype == np.float32:
        unit = (upper >> np.uint64(8)).astype(np.float32) * np.float32(2**-24)
    else:
        bits = upper << np.uint64(32) | drawn_words(size, 1, **draw)
        unit = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.minimum(low + (high - low) * unit, np.nextafter(high, dtype(-np.inf)) if low < high else high)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_any_number_of_blocks_has_the_bits_of_the_cpu(kernels, size, distribution, dtype):
    p0, p1 = (0.3, 0.0) if distribution == "bernoulli" else (-1.25, 2.5)
    wanted = on_cpu(dtype, size, distribution, p0, p1, seed=5)
    for blocks in (1, 2, 3, size // 512 + 1, size // 512 + 5):
        same_bits(on_cuda(kernels, dtype, size, distribution, p0, p1, seed=5, blocks=blocks, order=blocks), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("name", [None, "weights", "Gewichte für später"])
@pytest.mark.parametrize(("seed", "counter"), [(0, 0), (1, 3), (2**32 + 7, 1), (2**64 - 1, 200)])
def test_seeds_streams_and_counters(kernels, seed, counter, name, distribution, dtype):
    stream = stream_called(name)
    found = on_cuda(kernels, dtype, 700, distribution, 0.5, 1.0, seed=seed, stream=stream, counter=counter, blocks=2)
    same_bits(found, on_cpu(dtype, 700, distribution, 0.5, 1.0, seed=seed, name=name, counter=counter))


@FUSED
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_normal_numbers(kernels, dtype):
    wanted = on_cpu(dtype, 300_000, "normal", 0.0, 1.0, seed=11)
    assert np.abs(wanted).max() > 4
    same_bits(on_cuda(kernels, dtype, wanted.size, "normal", 0.0, 1.0, seed=11, blocks=64), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (-3, -1), (-1, 0), (-1e-3, 2e5), (0, 1e-42), (0.5, 0.5), (0, 0), (-2, -2), (1, 1 + 1e-12)],
)
def test_uniform_numbers_between_limits(kernels, low, high, dtype):
    found = on_cuda(kernels, dtype, 5000, "uniform", low, high, seed=3, blocks=3)
    same_bits(found, on_cpu(dtype, 5000, "uniform", low, high, seed=3))
    if dtype(low) < dtype(high):
        assert (found >= dtype(low)).all()
        assert (found < dtype(high)).all()
    else:
        assert (found == dtype(high)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", [1, -2, -1])
def test_uniform_numbers_do_not_round_up_to_the_limit(kernels, start, dtype):
    low = dtype(start)
    high = low
    for _ in range(3):
        high = np.nextafter(high, dtype(np.inf))
    if start == -1:  # up to 0, where a tiny number is the largest below
        low, high = dtype(-1e-45 if dtype == np.float32 else -5e-324), dtype(0)
    found = on_cuda(kernels, dtype, 2000, "uniform", float(low), float(high), seed=9, blocks=2)
    same_bits(found, on_cpu(dtype, 2000, "uniform", float(low), float(high), seed=9))
    assert (found < high).all()
    if start != -1:
        assert (found == np.nextafter(high, low)).mean() > 0.4  # a third, and those that would round up


@pytest.mark.parametrize("prob", [0.0, 2.0**-24, 0.1, 1.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities(kernels, dtype, prob):
    found = on_cuda(kernels, dtype, 5000, "bernoulli", prob, 0.0, seed=4, blocks=2)
    same_bits(found, on_cpu(dtype, 5000, "bernoulli", prob, 0.0, seed=4))


def test_philox_of_its_authors():
    # kat_vectors of Random123.
    assert [int(word) for word in philox((0, 0, 0, 0), (0, 0))] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert [int(word) for word in philox((MASK,) * 4, (MASK, MASK))] == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("counter", [0, 2**32 - 1, 2**32, 2**63 + 5])
@pytest.mark.parametrize("stream", [0, 2**33 + 1, 2**64 - 1])
def test_counters_of_64_bits(kernels, stream, counter, dtype):
    # More draws than a program makes in a test.
    draw = {"seed": 2**40 + 3, "stream": stream, "counter": counter}
    found = on_cuda(kernels, dtype, 1000, "uniform", -1, 3, blocks=2, **draw)
    same_bits(found, uniform_numbers(dtype, 1000, -1, 3, **draw))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distribution", DRAWS)
def test_a_short_array_begins_as_a_long_one(kernels, distribution, dtype):
    long = on_cuda(kernels, dtype, 5000, distribution, 0.5, 1, seed=2, blocks=7)
    for size in SIZES[:-1]:
        same_bits(on_cuda(kernels, dtype, size, distribution, 0.5, 1, seed=2), long[:size])
