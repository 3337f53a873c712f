"""What the tape keeps: the values that derivatives read, and no longer than until they are read."""

import numpy as np
import pytest

import owl
from owl import elewise

STEPS, HIDDEN, BATCH = 1000, 64, 32
STATE = HIDDEN * BATCH * 4  # bytes


def chain(segment):
    """The sum of a state after many steps; `segment` makes `STEPS / 20` of them."""

    def total(w, h):
        for _ in range(20):
            h = segment(w, h)
        return h.sum()

    return total


def segment(w, h):
    for _ in range(STEPS // 20):
        h = elewise.tanh(w * h)
    return h


def peak(function, *args):
    """The most bytes in use at once while a gradient is computed, and the gradient."""
    owl.wait_for_all()
    device = args[0].device
    owl.testing.trim_memory(device)
    before = owl.memory_info(device)["in_use"]
    gradient = owl.grad(function)(*args).to_numpy()
    return owl.memory_info(device)["peak"] - before, gradient


@pytest.mark.parametrize("asked_in_between", [False, True])
def test_a_long_chain(asked_in_between):
    """Each state is kept once; with remat those between segments are, and those of one segment."""

    def watched(w, h):
        h = segment(w, h)
        if asked_in_between:
            h.wait_for_eval()
        return h

    rng = np.random.default_rng(0)
    w = owl.from_numpy((rng.normal(size=(HIDDEN, HIDDEN)) / 8).astype(np.float32))
    h = owl.from_numpy(rng.normal(size=(BATCH, HIDDEN)).astype(np.float32))
    plain, expected = peak(chain(watched), w, h)
    rematerialized, found = peak(chain(owl.remat(watched)), w, h)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)  # the parts of a sum are added segment by segment
    assert STEPS * STATE <= plain < 1.1 * STEPS * STATE
    assert rematerialized < 0.1 * plain


def test_values_that_no_derivative_reads_are_not_kept():
    """A sum of many large arrays: of each only the shape is remembered."""
    x = owl.zeros([1 << 16])
    for ahead in (False, True):

        def total(x, ahead=ahead):
            for k in range(50):
                x = x + k
                if ahead:
                    x.wait_for_eval()
            return x.sum()

        most, gradient = peak(total, x)
        assert most < 5 * x.nbytes
        np.testing.assert_array_equal(gradient, 1)


def test_nothing_is_left_of_a_call():
    """`vjp` keeps what the derivatives read for as long as its function lives."""
    x = owl.ones([1 << 12])
    with owl.testing.assert_no_leaks():
        owl.grad(lambda x: elewise.exp(x).sum())(x)
    y, pull_back = owl.vjp(elewise.exp, x)
    y.wait_for_eval()
    del y
    before = owl.testing.settle()["buffers"]
    del pull_back
    assert owl.testing.settle()["buffers"] < before
