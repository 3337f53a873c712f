"""The logarithm of softmax, cross entropy and its gradient, against float64, at any scale of the scores."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import owl
from owl.testing import cross_entropy_oracle, log_softmax_oracle, softmax_oracle

LENGTHS = [1, 2, 3, 10, 15, 16, 17, 63, 64, 65, 100, 128, 1000, 5001]


def one_hot(rng, n, classes):
    return np.eye(classes)[rng.integers(0, classes, n)]


def both(z, label, dtype):
    return owl.from_numpy(z, dtype), owl.from_numpy(label, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classes", LENGTHS)
@pytest.mark.parametrize("probabilities", [True, False])
def test_against_float64(classes, dtype, probabilities, rng):
    tolerance = 3e-6 if dtype == "float32" else 1e-13
    for n in (1, 7, 33):
        z = (rng.standard_normal((n, classes)) * 5).astype(dtype).astype(np.float64)
        label = softmax_oracle(rng.standard_normal((n, classes))) if probabilities else one_hot(rng, n, classes)
        label = label.astype(dtype).astype(np.float64)
        scores, labels = both(z, label, dtype)
        found = owl.conv.log_softmax(scores)
        assert found.shape == [classes, n]
        np.testing.assert_allclose(found.to_numpy(), log_softmax_oracle(z), rtol=tolerance, atol=tolerance)
        loss = owl.conv.cross_entropy(scores, labels)
        assert loss.shape == [1, n]
        assert loss.dtype == dtype
        np.testing.assert_allclose(loss.to_numpy(), cross_entropy_oracle(z, label), rtol=tolerance, atol=tolerance)
        gradient = owl.conv.cross_entropy_back(scores, labels)
        np.testing.assert_array_equal(gradient.to_numpy(), (owl.conv.softmax(scores) - labels).to_numpy())


@pytest.mark.parametrize("shape", [(4, 5), (3, 2, 5, 4), (2, 70, 9)])
@pytest.mark.parametrize("mode", [owl.conv.soft_op.instance, owl.conv.soft_op.channel])
def test_the_logarithm_follows_the_modes_of_softmax(shape, mode, rng):
    x = rng.standard_normal(shape)
    found = owl.conv.log_softmax(owl.from_numpy(x, np.float64), mode).to_numpy()
    np.testing.assert_allclose(found, log_softmax_oracle(x, int(mode)), rtol=1e-13, atol=1e-13)


@given(
    arrays(
        np.float64, st.tuples(st.integers(1, 4), st.integers(1, 70)), elements=st.floats(-(2.0**99), 2.0**99, width=32)
    ),
    st.randoms(use_true_random=False),
)
def test_scores_of_any_size_give_finite_losses(z, random):
    label = np.eye(z.shape[1])[[random.randrange(z.shape[1]) for _ in range(z.shape[0])]]
    scores, labels = both(z, label, "float32")
    loss = owl.conv.cross_entropy(scores, labels).to_numpy()
    np.testing.assert_allclose(loss, cross_entropy_oracle(z, label), rtol=1e-5, atol=1e-5)
    gradient = owl.conv.cross_entropy_back(scores, labels).to_numpy()
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient, softmax_oracle(z) - label, atol=2e-6)


@pytest.mark.parametrize("classes", [2, 10, 65, 300])
def test_an_impossible_class_costs_nothing_where_it_does_not_occur(classes):
    z = np.zeros((3, classes))
    z[:, 1] = -np.inf
    label = np.eye(classes)[[0, 0, 1]]
    loss = owl.conv.cross_entropy(*both(z, label, "float32")).to_numpy().ravel()
    np.testing.assert_allclose(loss[:2], np.log(classes - 1), rtol=1e-6)
    assert loss[2] == np.inf


def test_the_loss_that_probabilities_make_infinite_is_right():
    """Written by hand, the loss of an improbable label is infinite or NaN: its probability is 0 in float32."""
    z, label = both(np.array([[0.0, -200.0, 3.0]]), np.array([[0.0, 1.0, 0.0]]), "float32")
    by_hand = float(-owl.elewise.mult(label, owl.elewise.ln(owl.conv.softmax(z))).sum())
    assert not np.isfinite(by_hand)
    np.testing.assert_allclose(float(owl.conv.cross_entropy(z, label)), 203.0485873515737, rtol=1e-6)


def test_the_gradient_is_the_slope_of_the_loss(rng):
    z, label = rng.standard_normal((4, 6)), softmax_oracle(rng.standard_normal((4, 6)))
    gradient = owl.conv.cross_entropy_back(*both(z, label, "float64")).to_numpy()
    for at in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[at] = 1e-6
        up, down = (float(owl.conv.cross_entropy(*both(z + s, label, "float64")).sum()) for s in (step, -step))
        np.testing.assert_allclose(gradient[at], (up - down) / 2e-6, atol=1e-7)


def test_each_is_one_kernel(rng):
    z, label = (owl.from_numpy(x.astype(np.float32)) for x in (rng.standard_normal((8, 10)), one_hot(rng, 8, 10)))
    owl.wait_for_all()
    owl.conv.cross_entropy_back(z, label).wait_for_eval()
    (plan,) = (
        part for part in re.split(r"^ *plan ", owl.explain(), flags=re.MULTILINE) if "cross_entropy_back" in part
    )
    assert len(re.findall(r"^ *kernel \d", plan, re.MULTILINE)) == 1, plan


def test_bits_do_not_depend_on_neighbours(rng):
    z, label = rng.standard_normal((40, 30)), one_hot(rng, 40, 30)
    whole = owl.conv.cross_entropy(*both(z, label, "float32")).to_numpy()
    for n in (1, 3, 17):
        part = owl.conv.cross_entropy(*both(z[5 : 5 + n], label[5 : 5 + n], "float32")).to_numpy()
        np.testing.assert_array_equal(part, whole[5 : 5 + n])


def test_both_dtypes_meet_in_the_wider_one():
    z, label = owl.ones([3, 2], dtype="float64"), owl.ones([3, 2])
    assert owl.conv.cross_entropy(z, label).dtype == "float64"
    assert owl.conv.cross_entropy_back(label, z).dtype == "float64"


def test_no_instances_have_no_losses():
    assert owl.conv.cross_entropy(owl.zeros([3, 0]), owl.zeros([3, 0])).to_numpy().shape == (0, 1)


@pytest.mark.parametrize("function", [owl.conv.cross_entropy, owl.conv.cross_entropy_back])
def test_what_does_not_fit_is_refused(function):
    for z, label in (([3, 2], [3, 3]), ([3, 2], [2, 3]), ([6], [6]), ([0, 2], [0, 2]), ([2, 3, 4], [2, 3, 4])):
        with pytest.raises(owl.ShapeError, match=function.__name__):
            function(owl.zeros(z), owl.zeros(label))
    with pytest.raises(owl.OwlTypeError, match="the label must be an owl array"):
        function(owl.zeros([3, 2]), np.zeros((2, 3)))
    with pytest.raises(owl.OwlTypeError):
        owl.conv.log_softmax(np.zeros((2, 3)))
    with pytest.raises(owl.OwlValueError, match="log_softmax"):
        owl.conv.log_softmax(owl.zeros([3, 2]), 7)
