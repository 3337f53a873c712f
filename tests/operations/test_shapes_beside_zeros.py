"""Dimensions beside one of 0: their product cannot overflow, and there is nothing to go through for long."""

import numpy as np
import pytest

import owl
from owl import conv, elewise

HUGE = 10**12
PYTHON_AND_NUMPY = (owl.ShapeError, ValueError)


@pytest.mark.parametrize(
    "make",
    [
        lambda: owl.zeros([0, 2**62]),
        lambda: owl.ones([2**62, 0, 2**62]),
        lambda: owl.randn([0, 2**47]),
        lambda: owl.from_numpy(np.zeros((2**47, 0))),
        lambda: owl.zeros([3, 0]).reshape([0, 2**47]),
        lambda: owl.testing.promise([0, 2**47]),
        lambda: owl.zeros([2**31, 0]) * owl.zeros([0, 2**33]),
        lambda: owl.zeros([2**31, 1, 0]) + owl.zeros([1, 2**33, 0]),
        lambda: elewise.mult(owl.zeros([2**31, 1, 0]), owl.zeros([1, 2**33, 0])),
        lambda: owl.concat([owl.zeros([0, 2**45])] * 3, 1),
        lambda: conv.Convolver().ff(owl.zeros([2**30, 2**10, 1, 0]), owl.zeros([1, 1, 1, 2**10])),
        lambda: conv.Convolver().bp(owl.zeros([1, 1, 2**20, 0]), owl.zeros([2**20, 2**20, 0, 2**20])),
        lambda: conv.Convolver(2**20, 2**20).ff(owl.zeros([2**20, 2**20, 1, 0]), owl.zeros([1, 1, 1, 2**10])),
    ],
)
def test_a_shape_whose_elements_cannot_be_counted_is_refused(make):
    with pytest.raises(PYTHON_AND_NUMPY) as raised:
        make()
    assert isinstance(raised.value, owl.OwlError)


@pytest.mark.parametrize("groups", [1, 3, 2**24 - 1])
def test_a_gradient_without_the_data_has_a_counted_shape(groups):
    convolver = conv.Convolver(groups=groups)
    with pytest.raises(owl.ShapeError):
        convolver.bp(owl.zeros([1, 1, 2**20, 0]), owl.zeros([1, 1, 2**26, 0]))
    with pytest.raises(owl.ShapeError):
        convolver.weight_grad(owl.zeros([2**20, 1, 7, 0]), owl.zeros([1, 1, groups, 0]))


@pytest.mark.parametrize("shape", [[0, HUGE], [HUGE, 0], [2, 0, HUGE], [HUGE, 2, 0], [0, 2, HUGE]])
def test_what_is_empty_takes_no_time(shape):
    x = owl.zeros(shape)
    every = list(range(len(shape)))
    beside = [d for d in every if shape[d] in (0, HUGE)]
    assert (x + 1).to_numpy().size == 0
    assert (x.trans() + 1).sum(every).to_numpy().item() == 0
    assert elewise.exp(x).sum().to_numpy().item() == 0
    assert not x.sum(beside).to_numpy().any()
    for value in (
        x[::-1],
        x[:, :1],
        owl.concat([x, x], 0),
        owl.concat([x, x], 1),
        conv.softmax(x),
        conv.softmax(x, conv.soft_op.channel),
        x.astype("float64"),
        owl.randn(shape),
        x + owl.zeros([1] * len(shape)),
    ):
        assert value.to_numpy().size == 0
    assert x.count_zero() == 0


def test_a_sum_over_nothing_ends():
    assert owl.zeros([0, 2, HUGE]).sum([0, 2]).to_numpy().ravel().tolist() == [0, 0]
    assert owl.zeros([5, 0, HUGE]).sum([1, 2]).to_numpy().ravel().tolist() == [0] * 5


def test_a_product_of_no_columns_ends():
    assert (owl.zeros([HUGE, 0]) * owl.zeros([0, 0])).to_numpy().shape == (0, HUGE)
    assert (owl.zeros([3, 0]) * owl.zeros([0, 4]) + 1).sum(1).to_numpy().ravel().tolist() == [4, 4, 4]


def test_gradients_of_no_images():
    convolver, x, w = conv.Convolver(1, 1), owl.zeros([5, 5, 3, 0]), owl.ones([3, 3, 3, 2])
    y = convolver.ff(x, w)
    assert y.shape == [5, 5, 2, 0]
    assert convolver.bp(y, w).shape == [5, 5, 3, 0]
    assert not convolver.weight_grad(y, x).to_numpy().any()
    assert convolver.bias_grad(y).to_numpy().tolist() == [0, 0]
    assert conv.Pooler(2, 2, 2, 2).ff(x).to_numpy().shape == (0, 3, 3, 3)
