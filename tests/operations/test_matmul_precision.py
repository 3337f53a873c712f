"""The precision of products and convolutions: a setting of the process that each keeps from where it was recorded."""

import threading

import numpy as np
import pytest

import owl
import owl.conv
import owl.testing


@pytest.fixture(autouse=True)
def highest():
    yield
    owl.set_matmul_precision("highest")


def product(seed=0):
    rng = np.random.default_rng(seed)
    x, y = (owl.from_numpy(rng.standard_normal((20, 20)).astype(np.float32)) for _ in range(2))
    return x * y


def convolution(gradient=False):
    """Of few channels, forward or backward in the data."""
    rng = np.random.default_rng(0)
    x, w = (owl.from_numpy(rng.standard_normal((5, 5, 7, 7)).astype(np.float32)) for _ in range(2))
    convolver = owl.conv.Convolver(pad_h=3, pad_w=3)
    return convolver.bp(x, x, w) if gradient else convolver.ff(x, w)


COMPUTED = [product, convolution, lambda: convolution(gradient=True)]


def test_the_setting():
    assert owl.get_matmul_precision() == "highest"
    owl.set_matmul_precision("high")
    assert owl.get_matmul_precision() == "high"
    told = []
    thread = threading.Thread(target=lambda: told.append(owl.get_matmul_precision()))
    thread.start()
    thread.join()
    assert told == ["high"]
    owl.set_matmul_precision("highest")
    assert owl.get_matmul_precision() == "highest"


@pytest.mark.parametrize("wrong", ["medium", "", 0, None, ["high"]])
def test_an_unknown_precision(wrong):
    with pytest.raises(owl.OwlValueError) as caught:
        owl.set_matmul_precision(wrong)
    assert "'highest' or 'high'" in str(caught.value)
    assert owl.get_matmul_precision() == "highest"


@pytest.mark.parametrize("compute", COMPUTED, ids=["product", "forward", "backward"])
def test_small_ones_have_the_same_bits(compute):
    exact = compute().to_numpy()
    owl.set_matmul_precision("high")
    assert compute().to_numpy().tobytes() == exact.tobytes()


@pytest.mark.parametrize("compute", COMPUTED, ids=["product", "forward", "backward"])
def test_a_plan_for_each(compute):
    owl.set_matmul_precision("highest")
    compute().to_numpy()
    owl.set_matmul_precision("high")
    compute().to_numpy()
    before = owl.testing.planner_counters()
    for precision in ("highest", "high", "highest"):
        owl.set_matmul_precision(precision)
        compute().to_numpy()
    after = owl.testing.planner_counters()
    assert after["plans"] - before["plans"] == after["hits"] - before["hits"] == 3
    assert after["cached"] == before["cached"]


def test_the_gradient_of_filters_has_one_plan():
    x = owl.ones([7, 7, 5, 5])
    x.wait_for_eval()

    def gradient():
        return owl.conv.Convolver(pad_h=3, pad_w=3).weight_grad(x, x, x)

    gradient().to_numpy()
    before = owl.testing.planner_counters()
    owl.set_matmul_precision("high")
    gradient().to_numpy()
    after = owl.testing.planner_counters()
    assert after["hits"] - before["hits"] == 1
    assert after["cached"] == before["cached"]


def test_unlike_products_are_two_values():
    x = owl.ones([20, 20])
    exact = x * x
    owl.set_matmul_precision("high")
    rounded = x * x
    assert "shared:" not in owl.explain(exact + rounded)
    assert "shared:" in owl.explain(rounded + x * x)


def test_unlike_convolutions_are_two_values():
    x, w = owl.ones([9, 9, 2, 1]), owl.ones([3, 3, 2, 2])
    convolver = owl.conv.Convolver()
    exact = convolver.ff(x, w)
    owl.set_matmul_precision("high")
    rounded = convolver.ff(x, w)
    assert "shared:" not in owl.explain(exact + rounded)
    assert "shared:" in owl.explain(rounded + convolver.ff(x, w))
