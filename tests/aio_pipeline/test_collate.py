"""Native stacking gives what the Python way gives: values, dtypes, and errors word for word."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owl._runtime import find_type, stack_members, stack_values, take_items
from owl.aio.pipeline import collate as module
from owl.aio.pipeline.buffers import BufferPool
from owl.aio.pipeline.collate import collate

Pair = namedtuple("Pair", "a b")


class Sub(np.ndarray):
    """A class of one's own."""


class Number(np.float64):
    """A scalar of one's own."""


DTYPES = st.sampled_from(["u1", "i4", "f2", "f4", "f8", "?", "c8", ">i4", "i8", "q", "g", "M8[s]", "S3", "O", "i2,f4"])
SHAPES = st.sampled_from([(), (1,), (3,), (0,), (2, 3), (3, 2), (2, 0), (40, 40), (1, 1, 1, 4)])
FORMS = st.sampled_from(["plain", "plain", "plain", "strided", "fortran", "read-only", "own class", "metadata", "odd"])
PLAIN = [0, -7, 1 << 62, 1 << 63, 1 << 64, -(1 << 63), 1.5, float("nan"), True, False, 2j, None, "a", b"b", object]
OF_NUMPY = [np.uint8(3), np.int64(-3), np.longlong(5), np.float16(2), np.float32(0.1), np.float64(0.1), np.bool_(1)]
OF_NUMPY += [np.longdouble(1) / 3, np.complex64(1j), np.datetime64("2020-01-01"), np.str_("s"), np.array(4), Number(3)]
SCALARS = st.sampled_from([*PLAIN, *OF_NUMPY])


@st.composite
def arrays(draw: Any) -> np.ndarray:
    dtype, shape, form = np.dtype(draw(DTYPES)), draw(SHAPES), draw(FORMS)
    array = np.arange(int(np.prod(shape))).reshape(shape)
    array = array.astype(dtype) if dtype.names is None else np.zeros(shape, dtype)
    if form == "strided" and shape:
        array = np.repeat(array, 2, axis=-1)[..., ::2]
    elif form == "fortran":
        array = np.asfortranarray(array)
    elif form == "read-only":
        array.flags.writeable = False
    elif form == "own class":
        array = array.view(Sub)
    elif form == "metadata" and dtype.names is None and not dtype.hasobject:
        array = array.view(np.dtype(dtype, metadata={"a": 1}))
    elif form == "odd" and not dtype.hasobject:
        array = np.frombuffer(b"x" + array.tobytes(), dtype, array.size, 1).reshape(shape)
    return array


def containers(members: Any) -> Any:
    return st.one_of(
        st.lists(members, max_size=3).map(tuple),
        st.lists(members, max_size=3),
        st.tuples(members, members).map(lambda pair: Pair(*pair)),
        st.dictionaries(st.sampled_from("ab"), members),
    )


ITEMS = st.recursive(st.one_of(arrays(), SCALARS), containers, max_leaves=5)


def outcome(values: list, pool: BufferPool | None) -> Any:
    try:
        return "result", collate(values, pool)
    except Exception as error:
        return type(error), str(error)


def python_way(values: list, pool: BufferPool | None) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "stack_members", lambda *_: None)
        patch.setattr(module, "stack_values", lambda *_: None)
        return outcome(values, pool)


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert one.dtype.metadata == other.dtype.metadata
        assert one.shape == other.shape
        assert one.flags.c_contiguous == other.flags.c_contiguous
        assert one.flags.writeable
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other)
        for a, b in zip(one, other):
            assert_same(a, b)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    else:
        assert one == other


@settings(max_examples=400, deadline=None)
@given(st.data(), st.booleans(), st.integers(1, 20))
def test_native_stacking_agrees_with_python(data, pooled, count):
    first = data.draw(ITEMS)
    few = [first, *data.draw(st.lists(ITEMS, max_size=1))]
    values = [few[at] for at in data.draw(st.lists(st.integers(0, len(few) - 1), min_size=count, max_size=count))]
    pool = BufferPool() if pooled else None
    assert_same(outcome(values, pool), python_way(values, pool))


@settings(max_examples=200, deadline=None)
@given(st.lists(SCALARS, min_size=1, max_size=6))
def test_numbers_agree_with_python(values):
    assert_same(outcome(values, None), python_way(values, None))


@settings(max_examples=100, deadline=None)
@given(DTYPES, SHAPES, st.integers(1, 70))
def test_arrays_alike_agree_with_python(dtype, shape, count):
    values = [np.full(shape, at, dtype) if dtype != "O" else np.full(shape, None) for at in range(count)]
    assert_same(outcome(values, None), python_way(values, None))


@pytest.mark.parametrize("at", [1, 100, 199])
@pytest.mark.parametrize("odd", [np.zeros(5, "i4"), np.zeros((2, 2), "f4"), np.zeros(4, "f4"), 3, None, "x", (), [1]])
def test_one_misfit_among_many_is_named_as_ever(at, odd):
    for wrap in (
        lambda value: value,
        lambda value: (1, value),
        lambda value: ((value,), 2),
        lambda value: {"a": value},
    ):
        values = [wrap(np.zeros(5, "f4")) for _ in range(200)]
        values[at] = wrap(odd)
        got = outcome(values, None)
        assert got[0] != "result"
        assert got == python_way(values, None)


def test_large_arrays_are_copied_into_recycled_memory():
    pool = BufferPool()
    values = [np.full((300, 300), at, np.float32) for at in range(20)]
    stacked = collate(values, pool)
    assert pool.made == 1
    assert all((stacked[at] == at).all() for at in range(20))
    del stacked
    collate([(value, 1) for value in values], pool)
    assert pool.made == 1


def test_usual_items_are_stacked_natively():
    assert stack_values([np.zeros(3)] * 2).shape == (2, 3)
    assert stack_values((1, 2)).dtype == int
    members = stack_members([(np.zeros(3, np.uint8), 1, 2.0, True, np.float32(1), "a")] * 2)
    assert [getattr(member, "dtype", None) for member in members] == ["u1", int, float, bool, "f4", None]
    assert stack_members([(1,), (1, 2)]) is None
    assert stack_members([[1], [1]]) is None
    assert stack_values([]) is None


def test_items_that_are_dropped_while_room_is_made_are_held():
    values = [(np.full(2000, at % 200, np.uint8),) for at in range(600)]
    plain = np.stack([value[0] for value in values])

    def allocate(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        values.clear()
        return np.empty(shape, dtype)

    (stacked,) = stack_members(values, allocate)
    np.testing.assert_array_equal(stacked, plain)


@given(st.lists(st.integers(), max_size=40), st.data())
def test_items_are_taken_as_by_index(values, data):
    places = data.draw(st.lists(st.integers(-1, len(values)), max_size=60))
    for origin in (values, tuple(values)):
        if all(0 <= at < len(values) for at in places):
            assert take_items(origin, places) == [values[at] for at in places]
        else:
            with pytest.raises(IndexError):
                take_items(origin, places)


def test_taking_items_refuses_what_is_no_list_and_no_index():
    for origin, at in (("abc", [0]), ([1], [None]), ([1], [True]), ([1], [1 << 80])):
        with pytest.raises((TypeError, IndexError)):
            take_items(origin, at)


def test_a_type_is_found_exactly():
    assert find_type([1, 2.0, True], bool) == 2
    assert find_type([1, True], float) == -1
    assert find_type([], int) == -1
