"""Operations that move elements: exactly what NumPy gives on the array with reversed dimensions."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from agreement import DTYPES, array, same_bits, shapes, values
from hypothesis import given

import owl

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(DTYPES)


@given(shape=shapes(), seed=seeds, dtype=dtypes)
def test_to_and_from_numpy(shape, seed, dtype):
    x = values(np.random.default_rng(seed), shape, dtype)
    taken = array(x)
    assert taken.shape == list(reversed(x.shape)) == shape
    assert (taken.ndim, taken.size, taken.dtype) == (x.ndim, x.size, x.dtype)
    same_bits(taken.to_numpy(), x)


@given(shape=shapes(), seed=seeds, dtype=dtypes, data=st.data())
def test_trans(shape, seed, dtype, data):
    x = values(np.random.default_rng(seed), shape, dtype)
    same_bits(array(x).trans().to_numpy(), np.array(x.T, order="C"))
    axes = data.draw(st.permutations(range(len(shape))))
    moved = array(x).trans(axes)
    assert moved.shape == [shape[axis] for axis in axes]
    last = len(shape) - 1
    same_bits(moved.to_numpy(), np.array(x.transpose([last - axis for axis in reversed(axes)]), order="C"))


@given(shape=shapes(), seed=seeds, data=st.data())
def test_reshape(shape, seed, data):
    x = values(np.random.default_rng(seed), shape)
    target = data.draw(st.permutations(shape)) + [1] * data.draw(st.integers(0, 8 - len(shape)))
    same_bits(array(x).reshape(target).to_numpy(), x.reshape(target[::-1]))
    same_bits(array(x).reshape([x.size]).to_numpy(), x.reshape(-1))
    if x.size:
        open_end = [-1, *target[1:]] if target else [-1]
        same_bits(array(x).reshape(open_end).to_numpy(), x.reshape(open_end[::-1]))


@st.composite
def indices(draw: st.DrawFn, shape: list[int]) -> tuple:
    key: list[object] = []
    for size in shape[: draw(st.integers(0, len(shape)))]:
        if size and draw(st.booleans()):
            key.append(draw(st.integers(-size, size - 1)))
        else:
            key.append(draw(st.slices(size)))
    if draw(st.booleans()):
        place = draw(st.integers(0, len(key)))
        # What stands behind the ellipsis counts from the last dimension.
        behind = [draw(st.slices(size)) for size in shape[len(shape) - len(key) + place :]] if len(key) > place else []
        key = [*key[:place], Ellipsis, *behind]
    return tuple(key)


def numpy_index(key: tuple, ndim: int) -> tuple:
    """The same index for the array with reversed dimensions."""
    if Ellipsis not in key:
        key = (*key, Ellipsis)
    return tuple(reversed(key))


@given(shape=shapes(), seed=seeds, dtype=dtypes, data=st.data())
def test_indexing_with_integers_slices_and_an_ellipsis(shape, seed, dtype, data):
    x = values(np.random.default_rng(seed), shape, dtype)
    key = data.draw(indices(shape))
    expected = x[numpy_index(key, len(shape))]
    found = array(x)[key]
    assert found.shape == list(reversed(expected.shape))
    same_bits(found.to_numpy(), np.array(expected, dtype, order="C"))


def test_indexing_by_hand(rng):
    x = values(rng, [6, 4])
    a = array(x)
    same_bits(a[2].to_numpy(), np.array(x[:, 2], order="C"))
    same_bits(a[:, -1].to_numpy(), x[-1])
    same_bits(a[::-2].to_numpy(), np.array(x[:, ::-2], order="C"))
    same_bits(a[..., 1:3].to_numpy(), x[1:3])
    same_bits(a[np.int64(1), 3].to_numpy(), np.array(x[3, 1]))
    assert a[5, 3].shape == []
    assert a[4:2].shape == [0, 4]


def test_iteration_goes_over_the_first_dimension(rng):
    x = values(rng, [3, 4])
    parts = list(array(x))
    assert [part.shape for part in parts] == [[4]] * 3
    for i, part in enumerate(parts):
        same_bits(part.to_numpy(), np.array(x[:, i], order="C"))


@given(shape=shapes(min_dims=1), seed=seeds, data=st.data())
def test_slice(shape, seed, data):
    dim = data.draw(st.integers(0, len(shape) - 1))
    start = data.draw(st.integers(0, shape[dim]))
    count = data.draw(st.integers(0, shape[dim] - start))
    x = values(np.random.default_rng(seed), shape)
    expected = np.take(x, range(start, start + count), axis=len(shape) - 1 - dim)
    same_bits(owl.slice(array(x), dim, start, count).to_numpy(), np.array(expected, order="C"))


@given(shape=shapes(min_dims=1, most=1500), seed=seeds, dtype=dtypes, data=st.data())
def test_concat(shape, seed, dtype, data):
    dim = data.draw(st.integers(0, len(shape) - 1))
    lengths = data.draw(st.lists(st.sampled_from([0, 1, 2, 7, 20]), min_size=1, max_size=6))
    rng = np.random.default_rng(seed)
    parts = [values(rng, [*shape[:dim], length, *shape[dim + 1 :]], dtype) for length in lengths]
    joined = owl.concat([array(part) for part in parts], dim)
    same_bits(joined.to_numpy(), np.concatenate(parts, len(shape) - 1 - dim))


def test_concat_of_many_and_of_mixed_dtypes(rng):
    parts = [values(rng, [3, 2], DTYPES[i % 2]) for i in range(100)]
    joined = owl.concat([array(part) for part in parts], 1)
    assert joined.dtype == np.float64
    np.testing.assert_array_equal(joined.to_numpy(), np.concatenate(parts, 0))


@given(shape=shapes(), seed=seeds, dtype=dtypes)
def test_copies_and_copies_on_other_devices(devices, shape, seed, dtype):
    x = values(np.random.default_rng(seed), shape, dtype)
    a = array(x)
    same_bits(a.copy().to_numpy(), x)
    there = (a + 0).to(devices[1])
    assert there.device == devices[1]
    np.testing.assert_array_equal(there.to_numpy(), x)


@given(shape=shapes(), number=st.sampled_from([0, 1, -2.5, 7]), dtype=dtypes)
def test_constants(shape, number, dtype):
    for made, value in [
        (owl.zeros(shape, dtype), 0),
        (owl.ones(shape, dtype), 1),
        (owl.full(shape, number, dtype), number),
    ]:
        same_bits(made.to_numpy(), np.full(shape[::-1], value, dtype))


def test_one_number_is_a_shape_of_one_dimension():
    assert owl.zeros(5).shape == [5]
    assert owl.ones(np.int64(5)).shape == [5]
    assert owl.zeros(()).shape == []
    assert owl.zeros(np.array([2, 3])).shape == [2, 3]


@pytest.mark.parametrize(
    "source", ["int64", "uint8", "bool", "float16", "float64", "fortran", "strided", "list", "readonly"]
)
def test_from_numpy_takes_what_asarray_takes(source, rng):
    x = rng.integers(0, 2, (6, 4))
    given_ = {
        "fortran": lambda: np.asfortranarray(x.astype(np.float32)),
        "strided": lambda: x.astype(np.float32)[::2, ::-1],
        "list": lambda: x.tolist(),
        "readonly": lambda: np.frombuffer(x.astype(np.float32).tobytes(), np.float32).reshape(6, 4),
    }.get(source, lambda: x.astype(source))()
    taken = owl.from_numpy(given_)
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken.to_numpy(), np.asarray(given_, np.float32))


def test_from_numpy_copies_before_it_returns():
    for size in (10, 1 << 20):
        x = np.ones(size, np.float32)
        a = owl.from_numpy(x)
        total = a.sum()
        x[:] = 5
        assert float(total) == size


@pytest.mark.cpu("the array is read where it lies")
def test_a_borrowed_array_is_kept_alive_and_read_in_place():
    x = np.ones(1 << 16, np.float32)
    a = owl.from_numpy(x, copy=False)
    x[0] = 3
    assert float(a.sum()) == (1 << 16) + 2
    b = a + 1
    del x, a
    assert float(b.max()) == 4


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16", ">f4", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("wanted", ["float32", "float64"])
def test_other_elements_are_converted_in_whatever_order_they_lie(dtype, wanted, rng):
    plain = rng.integers(0, 200, (3, 40, 50)).astype(dtype)
    for x in (plain, plain.T, plain[:, ::-2, 1:], np.asfortranarray(plain), plain[0, 0, 0], plain[:0]):
        for copy in (True, None):
            same_bits(owl.from_numpy(x, wanted, copy).to_numpy(), np.array(x, wanted))


@pytest.mark.cpu("the array is read where it lies")
def test_copy_none_borrows_what_it_can():
    x = np.ones(100, np.float32)
    borrowed, copied = owl.from_numpy(x, copy=None), owl.from_numpy(x[::2], copy=None)
    x[0] = 3
    assert float(borrowed.sum()) == 102
    assert float(copied.sum()) == 50
    assert owl.from_numpy([1, 2], copy=None).to_numpy().tolist() == [1, 2]
    with pytest.raises(owl.OwlValueError, match="borrowed"):
        owl.from_numpy([1, 2], copy=False)
    assert owl.from_numpy(owl.ones([2]), copy=False).to_numpy().tolist() == [1, 1]
    misaligned = np.frombuffer(bytes(17), np.uint8)[1:].view(np.float32)
    assert not owl.from_numpy(misaligned, copy=None).to_numpy().any()
    with pytest.raises(owl.OwlValueError, match="borrowed"):
        owl.from_numpy(misaligned, copy=False)


def test_a_conversion_that_raises_leaves_nothing_behind():
    with pytest.raises(RuntimeWarning, match="overflow"):
        owl.from_numpy(np.full(1000, 1e300))


@pytest.mark.parametrize("shape", [[3, 1000], [1000, 3], [64, 64], [65, 129], [1, 50, 1, 20]])
def test_large_transposes(shape, rng):
    for dtype in DTYPES:
        x = values(rng, shape, dtype)
        same_bits(array(x).trans().to_numpy(), np.array(x.T, order="C"))
        assert math.prod(shape) == x.size


def test_concatenating_thousands_of_arrays():
    parts = [owl.full([2, 1], k) for k in range(6000)]
    joined = owl.concat(parts, 1)
    assert joined.shape == [2, 6000]
    assert np.array_equal(joined.to_numpy()[:, 1], np.arange(6000))


def test_a_part_that_fails_fails_the_whole_once():
    with owl.testing.faults("exp"):
        broken = owl.elewise.exp(owl.ones([2]))
        joined = owl.concat([owl.ones([2]), broken, owl.ones([2])], 0)
        with pytest.raises(owl.ExecutionError, match="exp"):
            joined.to_numpy()
