"""Objects and callables that are not what they say: an error, never a crash."""

import numpy as np
import pytest

import owl
from owl import _runtime, conv
from owl._runtime import stack_members, stack_values

MADE_BY_OWL = ("NArray", "Rows", "Promise", "Evaluation", "Wait", "LoopReader", "TaskStream", "Borrowed")


class ShorterThanItIs(list):
    def __len__(self):
        return 1


class LongerThanItIs(tuple):
    __slots__ = ()

    def __len__(self):
        return 9

    def __iter__(self):
        return iter((0,))


class Growing:
    """An integer that makes the list it stands in longer."""

    def __init__(self, values):
        self.values = values

    def __index__(self):
        self.values.extend([1] * 20)
        return 1


@pytest.mark.parametrize("name", MADE_BY_OWL)
def test_classes_that_only_owl_makes_refuse_to_make_objects(name):
    kind = getattr(_runtime, name)
    for make in (kind, lambda: kind.__new__(kind), lambda: object.__new__(kind)):
        with pytest.raises(TypeError, match="owl"):
            make()


def test_layers_without_parameters_have_the_default_ones():
    x = owl.ones([3, 3, 1, 1])
    assert conv.Convolver.__new__(conv.Convolver).ff(x, owl.ones([1, 1, 1, 1])).shape == [3, 3, 1, 1]
    assert conv.Pooler.__new__(conv.Pooler).ff(x).shape == [3, 3, 1, 1]


def test_shapes_that_lie_about_their_length():
    assert owl.zeros(ShorterThanItIs([1] * 8)).shape == [1] * 8
    with pytest.raises(owl.ShapeError, match="at most 8"):
        owl.zeros(ShorterThanItIs([1] * 9))
    growing = []
    growing += [Growing(growing)] * 8
    assert owl.zeros(growing).shape == [1] * 8
    with pytest.raises(owl.ShapeError, match="at most 8"):
        owl.ones([4]).reshape(ShorterThanItIs([1] * 9))


def test_indices_and_axes_that_lie_about_their_length():
    x = owl.from_numpy(np.arange(12.0).reshape(3, 4))
    assert x[LongerThanItIs((0, 1))].shape == [3]
    assert x.trans(ShorterThanItIs([1, 0])).shape == [3, 4]
    with pytest.raises(owl.OwlValueError):
        x.trans(LongerThanItIs((0, 1)))


def test_an_index_that_is_no_number():
    class NoNumber:
        def __index__(self):
            return "one"

    for use in (
        lambda: owl.zeros([NoNumber()]),
        lambda: owl.ones([2]).sum(NoNumber()),
        lambda: owl.slice(owl.ones([2]), 0, NoNumber(), 1),
    ):
        with pytest.raises(TypeError) as raised:
            use()
        assert isinstance(raised.value, owl.OwlError)


@pytest.mark.parametrize(
    "room",
    [
        lambda shape, dtype: np.empty((1,), dtype),
        lambda shape, dtype: np.empty(shape, "int8"),
        lambda shape, dtype: np.empty(shape[::-1], dtype).T,
        lambda shape, dtype: np.broadcast_to(np.zeros((), dtype), shape),
        lambda shape, dtype: np.empty(shape, dtype).view(np.recarray),
        lambda shape, dtype: bytearray(1 << 16),
        lambda shape, dtype: None,
    ],
)
def test_room_for_stacking_that_is_not_as_asked_for(room):
    values = [np.ones((64, 32), np.float32) for _ in range(4)]
    for stack in (lambda: stack_values(values, room), lambda: stack_members([(value,) for value in values], room)):
        with pytest.raises(TypeError, match="allocate"):
            stack()


def test_iterating_records_one_row_at_a_time():
    owl.testing.settle()
    x = owl.zeros([1 << 20, 1])
    before = _runtime.debug_counters()["nodes"]
    for row in x:
        assert row.shape == [1]
        break
    assert _runtime.debug_counters()["nodes"] - before < 10
    rows = iter(owl.from_numpy(np.array([[1.0, 2.0, 3.0]])))
    assert len(list(rows)) == 3
    assert next(rows, None) is None


def test_iterating_goes_over_the_value_of_its_beginning():
    x = owl.from_numpy(np.array([1.0, 2.0, 3.0]))
    seen = []
    for row in x:
        x += 10
        seen.append(float(row))
    assert seen == [1, 2, 3]
    assert x.to_numpy().tolist() == [31, 32, 33]
