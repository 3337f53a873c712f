"""The array as a Python object: a value with a handle, beside numbers, NumPy, copy and pickle."""

from __future__ import annotations

import copy
import gc
import operator
import pickle
import weakref

import numpy as np
import pytest
from agreement import DTYPES, array, same_bits, values

import owl
import owl.elewise as ele
from owl.testing import kernel_delay, promise


def test_repr_shows_shape_dtype_device_and_state_and_computes_nothing():
    x = owl.ones([2, 3], np.float64) * 2
    assert repr(x) == f"NArray(shape=[2, 3], dtype=float64, device={x.device.name}, state=recorded)"
    assert str(x) == repr(x)
    assert (x.state, x.shape, x.ndim, x.size, x.nbytes) == ("recorded", [2, 3], 2, 6, 48)
    assert x.state == "recorded"
    x.wait_for_eval()
    assert "state=done" in repr(x)
    given = promise([3])
    assert "state=submitted" in repr(given.array)
    given.fail("on purpose")
    assert "state=failed" in repr(given.array)
    with pytest.raises(owl.ExecutionError, match="on purpose"):
        given.array.to_numpy()


def test_attributes_are_fresh_objects():
    x = owl.zeros([2, 3])
    x.shape.append(4)
    assert x.shape == [2, 3]


def test_hashing_is_by_identity():
    x, y = owl.ones([1]), owl.ones([1])
    names = {x: "x", y: "y"}
    assert names[x] == "x"
    assert names[y] == "y"
    before = hash(x)
    x += 1
    assert hash(x) == before
    assert names[x] == "x"
    assert len({x, x, y}) == 2


def test_comparisons_are_arrays_and_membership_is_by_identity_first():
    x, y = owl.ones([1]), owl.zeros([1])
    assert isinstance(x == y, owl.NArray)
    assert x in [y, x]
    assert [y, x].index(x) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [[], [0, 3], [5], [2, 3, 4]])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickling(shape, dtype, protocol, rng):
    x = values(rng, shape, dtype)
    again = pickle.loads(pickle.dumps(array(x), protocol))
    assert again.shape == shape
    same_bits(again.to_numpy(), x)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: x.copy()], ids=["copy", "deepcopy", "method"])
def test_copies_are_independent(copied):
    x = owl.ones([3])
    y = copied(x)
    assert y is not x
    x += 1
    y *= 5
    np.testing.assert_array_equal(x.to_numpy(), [2, 2, 2])
    np.testing.assert_array_equal(y.to_numpy(), [5, 5, 5])


def test_weak_references_do_not_keep_an_array_alive():
    x = owl.ones([1])
    reference = weakref.ref(x)
    assert reference() is x
    del x
    assert reference() is None


# ------------------------------------------------------------------------------------------------------- as numbers


@pytest.mark.parametrize("shape", [[], [1], [1, 1, 1]])
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_element_converts_to_a_number(shape, dtype):
    x = owl.full(shape, 2.5, dtype)
    assert float(x) == 2.5
    assert type(float(x)) is float
    assert int(x) == 2
    assert type(int(x)) is int
    assert bool(x) is True
    assert bool(x - 2.5) is False
    assert bool(x > 3) is False


def test_conversions_are_those_of_numpy():
    assert int(owl.full([1], -2.9)) == int(np.float32(-2.9))
    with pytest.raises(ValueError, match="NaN"):
        int(owl.full([1], float("nan")))
    with pytest.raises(OverflowError):
        int(owl.full([1], float("inf")))
    with pytest.raises(TypeError):
        operator.index(owl.ones([1]))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(owl.zeros([0]))


def test_length_and_iteration_follow_the_first_dimension():
    x = owl.zeros([3, 2])
    assert len(x) == 3
    assert len(list(x)) == 3
    first, second, third = x
    assert first.shape == second.shape == third.shape == [2]
    assert len(owl.zeros([0, 2])) == 0
    assert list(owl.zeros([0, 2])) == []


# --------------------------------------------------------------------------------------------------------- as NumPy


def test_numpy_takes_an_array_and_copies(rng):
    x = values(rng, [4, 3])
    a = array(x)
    for taken in (np.asarray(a), np.array(a), np.asarray(a, dtype=np.float64), np.asarray(a, dtype=np.int32)):
        np.testing.assert_array_equal(taken, x.astype(taken.dtype))
        taken[0, 0] = 99
    np.testing.assert_array_equal(a.to_numpy(), x)
    assert np.sum(np.asarray(a)) == pytest.approx(x.sum())
    np.testing.assert_allclose(np.concatenate([a, a]), np.concatenate([x, x]))
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        with pytest.raises(ValueError, match="copy"):
            np.asarray(a, copy=False)


def test_universal_functions_refuse_instead_of_making_object_arrays():
    a = owl.ones([3])
    for wrong in (np.add, np.multiply, np.maximum):
        with pytest.raises(TypeError, match="__array_ufunc__"):
            wrong(a, np.ones(3))
    with pytest.raises(TypeError, match="__array_ufunc__"):
        np.exp(a)


def test_numpy_on_the_left_leaves_the_operation_to_owl(rng):
    x, y = values(rng, [4, 3]), values(rng, [4, 3], low=1)
    for operation in (operator.add, operator.sub, operator.truediv, operator.lt, operator.eq):
        result = operation(x, array(y))
        assert isinstance(result, owl.NArray)
        np.testing.assert_allclose(result.to_numpy(), operation(x, y), rtol=1e-6)
    for number in (np.float32(2), np.float64(2), np.int64(2), np.array(2.0), np.array(2)):
        for operation in (operator.add, operator.sub, operator.truediv, operator.mul):
            result = operation(number, array(y))
            assert isinstance(result, owl.NArray)
            assert result.dtype == np.float32
            np.testing.assert_allclose(result.to_numpy(), operation(2, y), rtol=1e-6)


def test_a_numpy_array_cannot_be_updated_in_place_by_an_owl_array():
    x = np.ones(3, np.float32)
    with pytest.raises(TypeError, match="__array_ufunc__"):
        x += owl.ones([3])
    np.testing.assert_array_equal(x, [1, 1, 1])


def test_numpy_operands_are_copied_when_recorded():
    x = np.ones(3, np.float32)
    a = owl.ones([3]) + x
    x[:] = 100
    np.testing.assert_array_equal(a.to_numpy(), [2, 2, 2])


def test_to_numpy_gives_memory_of_its_own():
    a = owl.ones([3]) + 1
    first, second = a.to_numpy(), a.to_numpy()
    first[:] = 0
    np.testing.assert_array_equal(second, [2, 2, 2])
    np.testing.assert_array_equal(a.to_numpy(), [2, 2, 2])
    assert first.flags.c_contiguous
    assert first.flags.writeable


# --------------------------------------------------------------------------------------------------------- as values


def test_a_loop_over_parameters_trains_them():
    parameters = [owl.ones([2]), owl.ones([3]) * 2]
    w, b = parameters
    for p in parameters:
        p -= 0.5
    np.testing.assert_array_equal(w.to_numpy(), [0.5, 0.5])
    np.testing.assert_array_equal(b.to_numpy(), [1.5, 1.5, 1.5])


def test_every_name_of_an_object_sees_an_update():
    class Layer:
        pass

    layer = Layer()
    layer.w = w = owl.ones([2])
    table = {"w": w}
    w += 1
    w *= 3
    w /= 2
    w -= owl.ones([2])
    assert layer.w is w is table["w"]
    np.testing.assert_array_equal(layer.w.to_numpy(), [2, 2])


@pytest.mark.parametrize(
    "derive",
    [
        lambda x: x.reshape([3, 2]),
        lambda x: x.trans(),
        lambda x: x[...],
        lambda x: x[1],
        lambda x: owl.slice(x, 1, 0, 2),
        lambda x: x.copy(),
        lambda x: x + 0,
        lambda x: owl.concat([x], 0),
        lambda x: x.astype(np.float32),
    ],
)
@pytest.mark.parametrize("computed", [False, True])
def test_what_was_computed_from_the_old_value_keeps_it(derive, computed, rng):
    x = array(values(rng, [2, 3]))
    expected = derive(x).to_numpy()
    if not computed:
        x = array(x.to_numpy())
    derived = derive(x)
    if computed:
        derived.wait_for_eval()
    x += 100
    x.wait_for_eval()
    np.testing.assert_array_equal(derived.to_numpy(), expected)


def test_an_update_by_itself():
    x = owl.full([2, 2], 3.0)
    x += x
    x -= 0.5 * x
    np.testing.assert_array_equal(x.to_numpy(), np.full((2, 2), 3.0))
    x *= x
    np.testing.assert_array_equal(x.to_numpy(), np.full((2, 2), 18.0))


def test_a_result_of_the_matrix_product_replaces_the_array():
    x = owl.ones([2, 2])
    same = x
    x *= owl.ones([2, 2])
    assert x is same
    np.testing.assert_array_equal(x.to_numpy(), np.full((2, 2), 2.0))


def test_states_from_recorded_to_done():
    with kernel_delay(20_000):
        x = ele.exp(owl.zeros([4]))
        assert x.state == "recorded"
        x.start_eval()
        assert x.state in ("submitted", "done")
        x.wait_for_eval()
        assert x.state == "done"


def test_recording_computes_nothing_and_demands_only_what_they_need():
    x = owl.ones([4])
    y, z = x + 1, x * 2
    y.wait_for_eval()
    assert (y.state, z.state) == ("done", "recorded")
    owl.wait_for_all()
    assert z.state == "done"


def test_a_promised_array_is_used_before_it_is_there():
    given = promise([3])
    total = (given.array * 2).sum()
    total.start_eval()
    assert total.state == "submitted"
    given.fulfil(np.array([1, 2, 3]))
    given.fulfil(np.array([9, 9, 9]))  # a promise is settled once
    assert float(total) == 12


def test_a_promise_of_another_shape_is_refused():
    given = promise([2, 3])
    with pytest.raises(owl.ShapeError, match=r"\(2, 3\) was given, \(3, 2\) was promised"):
        given.fulfil(np.ones((2, 3)))
    given.fulfil(np.ones((3, 2)))
    assert float(given.array.sum()) == 6


def test_a_dropped_promise_fails_who_waits_for_it():
    given = promise([2])
    later = given.array + 1
    later.start_eval()
    del given
    gc.collect()
    with pytest.raises(owl.ExecutionError, match="dropped"):
        later.to_numpy()


def test_promises_that_nobody_waits_for_are_silent(python):
    done = python("""
import numpy as np
from owl.testing import promise
kept = promise([2])
kept.fulfil(np.ones(2))
settled = promise([2])
settled.fulfil(np.ones(2))
del settled
unused = promise([2])
del unused
import owl
owl.zeros([1]).to_numpy()
""")
    assert (done.returncode, done.stderr) == (0, "")
