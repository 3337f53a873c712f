"""Items that travel to a process stacked arrive as if each had been pickled by itself."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from owl.aio.pipeline.columns import Columns, pack, unpack

DTYPES = st.sampled_from([np.uint8, np.int64, np.float32, np.float64, np.bool_, np.complex64, ">f4", "U3", "M8[s]"])
ARRAYS = arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.builds(np.float32, st.floats(width=32))
)
OTHERS = st.one_of(
    st.text(max_size=2), st.none(), st.tuples(st.integers()), st.dictionaries(st.text(max_size=1), NUMBERS)
)
MEMBERS = st.one_of(ARRAYS, NUMBERS, OTHERS)


def same(left, right):
    assert type(left) is type(right)
    if isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.flags.writeable == right.flags.writeable
        assert left.flags.c_contiguous == right.flags.c_contiguous
        assert left.tobytes() == right.tobytes()
    elif isinstance(left, tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            same(a, b)
    else:
        assert left == right or left != left


def check(values):
    found = unpack(pickle.loads(pickle.dumps(pack(values))))
    wanted = pickle.loads(pickle.dumps(values))
    assert type(found) is list
    assert len(found) == len(wanted)
    for left, right in zip(found, wanted, strict=True):
        same(left, right)
    return found


@given(st.lists(st.one_of(MEMBERS, st.tuples(MEMBERS, MEMBERS)), max_size=6))
def test_whatever_items_are(values):
    check(values)


@given(st.one_of(MEMBERS, st.tuples(MEMBERS), st.tuples(MEMBERS, MEMBERS, MEMBERS)), st.integers(4, 9))
def test_items_that_are_alike(value, count):
    check([value] * count)


def test_what_is_usual_is_stacked():
    samples = [(np.full((2, 3), n, np.uint8), n, f"name {n}") for n in range(5)]
    packed = pack(samples)
    assert isinstance(packed, Columns)
    assert packed.columns[0].shape == (5, 2, 3)
    assert packed.columns[2] == [f"name {n}" for n in range(5)]
    found = check(samples)
    assert all(image.base is None for image, _, _ in found), "one row keeps all of them alive"


@pytest.mark.parametrize("values", [[], [1, 2], ["a"] * 9, [()] * 9, [None] * 9])
def test_others_travel_as_they_are(values):
    assert pack(values) is values
