"""The hand-written gradients of the networks against differences of the loss in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import owl
from owl.apps.mnist.dataset import Dataset, to_batch
from owl.apps.mnist.model import MODELS, Perceptron
from owl.apps.mnist.train import Evaluation

Parameters = dict[str, NDArray[np.float64]]

RATE = 0.5
STEP = 1e-6


@pytest.fixture
def batch(small: Dataset) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """37 images: a short batch whose size is no round number."""
    return to_batch(small.train.images[::8][:37], small.train.labels[::8][:37])


def perceptron_output(parameters: Parameters, data: NDArray[np.float64]) -> NDArray[np.float64]:
    """The perceptron in NumPy, where arrays have their dimensions the other way round."""
    a1 = np.maximum(data @ parameters["w1"] + parameters["b1"], 0)
    z2 = a1 @ parameters["w2"] + parameters["b2"]
    e = np.exp(z2 - z2.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def in_float64(model: Perceptron) -> Parameters:
    return {name: array.to_numpy().astype(np.float64) for name, array in model.parameters().items()}


def test_a_step_of_the_perceptron_goes_down_the_gradient(
    batch: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    owl.seed(3)
    data, label = batch
    model = Perceptron()
    before = in_float64(model)
    model.step(owl.from_numpy(data), owl.from_numpy(label), RATE)
    after = in_float64(model)
    data64, label64 = data.astype(np.float64), label.astype(np.float64)

    def loss(parameters: Parameters) -> float:
        return -float((label64 * np.log(perceptron_output(parameters, data64))).sum()) / len(data)

    rng = np.random.default_rng(4)
    for name, array in before.items():
        for _ in range(10):
            where = tuple(rng.integers(size) for size in array.shape)
            differences = []
            for sign in (1, -1):
                moved = {**before, name: array.copy()}
                moved[name][where] += sign * STEP
                differences.append(loss(moved))
            gradient = (differences[0] - differences[1]) / (2 * STEP)
            assert after[name][where] - array[where] == pytest.approx(-RATE * gradient, rel=1e-3, abs=1e-6)


def test_predictions_are_those_of_float64(batch: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    owl.seed(5)
    model = Perceptron()
    got = model.predict(owl.from_numpy(batch[0])).to_numpy()
    np.testing.assert_allclose(got, perceptron_output(in_float64(model), batch[0].astype(np.float64)), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_have_the_shapes_that_are_promised(name: str) -> None:
    model = MODELS[name]()
    assert {key: list(array.shape) for key, array in model.parameters().items()} == model.shapes


@pytest.mark.parametrize("name", MODELS)
def test_restored_parameters_predict_the_same(
    name: str, batch: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> None:
    first, second = MODELS[name](), MODELS[name]()
    second.restore({key: owl.from_numpy(array.to_numpy()) for key, array in first.parameters().items()})
    data = owl.from_numpy(batch[0])
    np.testing.assert_array_equal(first.predict(data).to_numpy(), second.predict(data).to_numpy())


def test_accuracy_counts_what_the_model_gets_right(small: Dataset) -> None:
    owl.seed(6)
    model = Perceptron()
    output = perceptron_output(in_float64(model), small.test.images / 256)
    right = (output.argmax(1) == small.test.labels).mean()
    assert Evaluation(small.test).accuracy(model) == pytest.approx(right)
