"""A gradient made by owl is the plan that a careful person writes: the same kernels, the same bytes, the same bits."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

import owl
from owl import _runtime, conv, elewise
from owl._explain.plan import windows
from owl.apps.mnist import mnist_cnn
from tests.planner.harness import by_recording_alone, in_fresh_thread

STEPS = 24


def batch(n, seed):
    rng = np.random.default_rng(seed)
    return rng.random((n, 784), dtype=np.float32), np.eye(10, dtype=np.float32)[rng.integers(0, 10, n)]


def parameter(shape, scale, seed):
    values = np.random.default_rng(seed).standard_normal(shape[::-1]) * scale
    return owl.from_numpy(values.astype(np.float32))


class Perceptron:
    """Two layers; the update is that of gradient descent."""

    def __init__(self):
        self.w = [parameter([64, 784], 0.05, 1), parameter([10, 64], 0.1, 2)]
        self.b = [owl.zeros([64, 1]), owl.zeros([10, 1])]

    def values(self):
        return [*self.w, *self.b]

    def update(self, gw, gb, n):
        rate = 0.1 / n
        self.w = [w - rate * g for w, g in zip(self.w, gw, strict=True)]
        self.b = [b - rate * g for b, g in zip(self.b, gb, strict=True)]

    def by_hand(self, data, label):
        x, y = owl.from_numpy(data), owl.from_numpy(label)
        a = elewise.relu(self.w[0] * x + self.b[0])
        z = self.w[1] * a + self.b[1]
        s2 = conv.cross_entropy_back(z, y)
        s1 = elewise.relu_back(self.w[1].trans() * s2, a)
        self.update([s1 * x.trans(), s2 * a.trans()], [s1.sum(1), s2.sum(1)], len(data))

    def by_owl(self, data, label):
        def loss(w, b, x, y):
            a = elewise.relu(w[0] * x + b[0])
            return conv.cross_entropy(w[1] * a + b[1], y).sum()

        _, (gw, gb) = owl.value_and_grad(loss, (0, 1))(self.w, self.b, owl.from_numpy(data), owl.from_numpy(label))
        self.update(gw, gb, len(data))


class ConvolutionNet(mnist_cnn.CnnModel):
    """That of the classic script, its update included."""

    def __init__(self):
        super().__init__()
        self.weights = [parameter(w.shape, 0.1, k) for k, w in enumerate(self.weights)]

    def values(self):
        return [*self.weights, *self.bias]

    def by_hand(self, data, label):
        _, gw, gb = mnist_cnn.bpprop(self, mnist_cnn.images(data), owl.from_numpy(label))
        self.update(gw, gb, len(data), 0.1, 0.75, 5e-4)

    def by_owl(self, data, label):
        def loss(weights, bias, x, y):
            model = SimpleNamespace(weights=weights, bias=bias, convs=self.convs, poolings=self.poolings)
            return conv.cross_entropy(mnist_cnn.forward(model, x)[-1], y).sum()

        args = (self.weights, self.bias, mnist_cnn.images(data), owl.from_numpy(label))
        _, (gw, gb) = owl.value_and_grad(loss, (0, 1))(*args)
        self.update(gw, gb, len(data), 0.1, 0.75, 5e-4)


def run(kind, way, n=8):
    """The plan of a step in the middle of training, and the parameters at the end."""

    def body():
        net = kind()
        owl.wait_for_all()
        for step in range(STEPS):
            getattr(net, way)(*batch(n, step))
        owl.wait_for_all()
        plans = [plan for window in windows(_runtime.explain_recent()) for plan in window.plans]
        return plans[-3], [value.to_numpy() for value in net.values()]

    with by_recording_alone():
        return in_fresh_thread(body)


def described(plan):
    """The kernels with their operations, whatever their values are called; bytes that are stored."""
    kernels = sorted(
        (
            kernel.name,
            sorted(
                f"{re.sub(r'[vx][0-9]+', '_', plan.operations[k].call)} {plan.operations[k].type}"
                for k in [*kernel.operations, *kernel.absorbed]
            ),
        )
        for kernel in plan.kernels
    )
    written_over = sum(bool(operation.output and operation.output.written_over) for operation in plan.operations)
    return kernels, plan.bytes_outside, plan.bytes_inside, written_over


@pytest.mark.parametrize("precision", ["highest", "high"])
@pytest.mark.parametrize("kind", [Perceptron, ConvolutionNet])
def test_the_plan_is_that_of_the_script_with_gradients_by_hand(kind, precision):
    owl.set_matmul_precision(precision)
    try:
        compare_plans(kind)
    finally:
        owl.set_matmul_precision("highest")


def compare_plans(kind):
    plan, values = run(kind, "by_hand")
    made, made_values = run(kind, "by_owl")
    assert len(plan.kernels) > 5
    assert described(made) == described(plan)
    for value, other in zip(values, made_values, strict=True):
        np.testing.assert_array_equal(value, other)


def test_a_mean_loss_differs_by_a_factor():
    class Mean(Perceptron):
        def by_owl(self, data, label):
            def loss(w, b, x, y):
                a = elewise.relu(w[0] * x + b[0])
                return conv.cross_entropy(w[1] * a + b[1], y).mean()

            _, (gw, gb) = owl.value_and_grad(loss, (0, 1))(self.w, self.b, owl.from_numpy(data), owl.from_numpy(label))
            self.update(gw, gb, 1)

    plan, _ = run(Perceptron, "by_hand")
    made, _ = run(Mean, "by_owl")
    kernels, outside, _, written_over = described(plan)
    found, found_outside, _, found_written_over = described(made)
    assert (found_outside, found_written_over) == (outside, written_over)
    assert len(found) <= len(kernels) + 1
    operations = [operation for _, part in kernels for operation in part]
    more = [operation for _, part in found for operation in part]
    for operation in operations:
        more.remove(operation)
    assert more == ["mul(_, number) [10, 8]"]
