"""The precision of matrix products: a setting of the process that each product keeps from where it was recorded."""

import threading

import numpy as np
import pytest

import owl
import owl.testing


@pytest.fixture(autouse=True)
def highest():
    yield
    owl.set_matmul_precision("highest")


def product(seed=0):
    rng = np.random.default_rng(seed)
    x, y = (owl.from_numpy(rng.standard_normal((20, 20)).astype(np.float32)) for _ in range(2))
    return x * y


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


def test_small_products_have_the_same_bits():
    exact = product().to_numpy()
    owl.set_matmul_precision("high")
    assert product().to_numpy().tobytes() == exact.tobytes()


def test_a_plan_for_each():
    owl.set_matmul_precision("highest")
    product().to_numpy()
    owl.set_matmul_precision("high")
    product().to_numpy()
    before = owl.testing.planner_counters()
    for precision in ("highest", "high", "highest"):
        owl.set_matmul_precision(precision)
        product().to_numpy()
    after = owl.testing.planner_counters()
    assert after["plans"] - before["plans"] == after["hits"] - before["hits"] == 3
    assert after["cached"] == before["cached"]


def test_unlike_products_are_two_values():
    x = owl.ones([20, 20])
    exact = x * x
    owl.set_matmul_precision("high")
    rounded = x * x
    assert "shared:" not in owl.explain(exact + rounded)
    assert "shared:" in owl.explain(rounded + x * x)
