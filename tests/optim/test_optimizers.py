"""Optimizers against their formulas in float64, and what their updates cost."""

import math

import numpy as np
import pytest

import owl
from owl import _runtime, optim
from owl._explain.plan import windows
from tests.planner.harness import by_recording_alone, in_fresh_thread

STEPS = 100


def sgd(w, g, s, t, lr=0.1, momentum=0.0, nesterov=False, decay=0.0):
    g = g + decay * w
    s["v"] = momentum * s.get("v", 0) + g
    return w - lr * (g + momentum * s["v"] if nesterov else s["v"])


def adam(w, g, s, t, lr=0.01, betas=(0.9, 0.999), eps=1e-8, decay=0.0, decoupled=0.0):
    w, g = w * (1 - lr * decoupled), g + decay * w
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g**2
    return w - lr * (s["m"] / (1 - betas[0] ** t)) / (np.sqrt(s["v"] / (1 - betas[1] ** t)) + eps)


def rmsprop(w, g, s, t, lr=0.01, alpha=0.99, eps=1e-8, decay=0.0, momentum=0.0):
    g = g + decay * w
    s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g**2
    s["b"] = momentum * s.get("b", 0) + g / (np.sqrt(s["v"]) + eps)
    return w - lr * s["b"]


def adagrad(w, g, s, t, lr=0.01, lr_decay=0.0, decay=0.0, initial=0.0, eps=1e-10):
    g = g + decay * w
    s["v"] = s.get("v", initial) + g**2
    return w - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["v"]) + eps)


ALL = {"eps": 1e-6, "decay": 0.1}
CASES = {
    "sgd": (optim.SGD(0.1), sgd, {}),
    "sgd_momentum": (optim.SGD(0.1, 0.9, weight_decay=0.01), sgd, {"momentum": 0.9, "decay": 0.01}),
    "sgd_nesterov": (optim.SGD(0.1, 0.9, nesterov=True), sgd, {"momentum": 0.9, "nesterov": True}),
    "adam": (optim.Adam(0.01), adam, {}),
    "adam_all": (optim.Adam(0.01, (0.8, 0.99), 1e-6, 0.1), adam, ALL | {"betas": (0.8, 0.99)}),
    "adamw": (optim.AdamW(0.01, weight_decay=0.1), adam, {"decoupled": 0.1}),
    "rmsprop": (optim.RMSprop(0.01), rmsprop, {}),
    "rmsprop_all": (optim.RMSprop(0.01, 0.9, 1e-6, 0.1, 0.5), rmsprop, ALL | {"alpha": 0.9, "momentum": 0.5}),
    "adagrad": (optim.Adagrad(0.01), adagrad, {}),
    "adagrad_all": (optim.Adagrad(0.01, 0.1, 0.1, 0.5), adagrad, {"lr_decay": 0.1, "decay": 0.1, "initial": 0.5}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_hundred_steps_of_the_formula(name):
    optimizer, formula, settings = CASES[name]
    rng = np.random.default_rng(0)
    expected = [rng.normal(size=(4, 3)), rng.normal(size=5)]
    states = [{}, {}]
    params = {"w": owl.from_numpy(expected[0], np.float64), "b": (owl.from_numpy(expected[1], np.float64), None)}
    state = optimizer.init(params)
    for step in range(1, STEPS + 1):
        grads = [rng.normal(size=value.shape) for value in expected]
        given = {"w": owl.from_numpy(grads[0], np.float64), "b": (owl.from_numpy(grads[1], np.float64), None)}
        params, state = optimizer.update(given, state, params)
        expected = [formula(w, g, s, step, **settings) for w, g, s in zip(expected, grads, states, strict=True)]
    np.testing.assert_allclose(params["w"].to_numpy(), expected[0], rtol=1e-11)
    np.testing.assert_allclose(params["b"][0].to_numpy(), expected[1], rtol=1e-11)
    assert params["b"][1] is None
    assert state["step"] == STEPS


@pytest.mark.parametrize("name", CASES)
def test_an_update_is_one_pass_in_place(name):
    """One kernel for a parameter, all of whose results are written over the old values."""
    optimizer = CASES[name][0]

    def body():
        params = owl.randn([64, 32], dtype=np.float32)
        state = optimizer.init(params)
        owl.wait_for_all()
        for step in range(5):
            gradient = owl.from_numpy(np.full((32, 64), 1.0 + step, np.float32))
            params, state = optimizer.update(gradient, state, params)
            owl.wait_for_all()
        return [plan for window in windows(_runtime.explain_recent()) for plan in window.plans][-1]

    with by_recording_alone():
        plan = in_fresh_thread(body)
    results = 1 + len(optimizer._used())
    assert len(plan.kernels) == 1
    assert sum(bool(operation.output and operation.output.written_over) for operation in plan.operations) == results
    assert (plan.bytes_inside, plan.bytes_outside) == (0, results * 64 * 32 * 4)


def test_the_old_state_stays_as_it_was():
    optimizer = optim.Adam(0.1)
    params = owl.ones([3])
    state = optimizer.init(params)
    updated, later = optimizer.update(owl.ones([3]), state, params)
    again, _ = optimizer.update(owl.ones([3]), state, params)
    assert (state["step"], later["step"]) == (0, 1)
    np.testing.assert_array_equal(updated.to_numpy(), again.to_numpy())
    np.testing.assert_array_equal(params.to_numpy(), np.ones(3))


def test_a_run_goes_on_from_its_state():
    optimizer = optim.Adam(optim.cosine(0.1, 20))
    grads = [np.random.default_rng(k).normal(size=4) for k in range(10)]

    def run(params, state, part):
        for g in part:
            params, state = optimizer.update(owl.from_numpy(g), state, params)
        return params, state

    whole, _ = run(owl.ones([4]), optimizer.init(owl.ones([4])), grads)
    params, state = run(owl.ones([4]), optimizer.init(owl.ones([4])), grads[:6])
    state = {key: owl.from_numpy(x.to_numpy()) if type(x) is owl.NArray else x for key, x in state.items()}
    rest, _ = run(owl.from_numpy(params.to_numpy()), state, grads[6:])
    np.testing.assert_array_equal(whole.to_numpy(), rest.to_numpy())


def test_wrong_nests_are_named():
    optimizer = optim.SGD(0.1, 0.9)
    params = {"w": owl.ones([2, 3]), "b": owl.ones([2])}
    state = optimizer.init(params)
    with pytest.raises(owl.OwlTypeError, match=r"\[SGD.update\] grads\['b'\] is missing"):
        optimizer.update({"w": owl.ones([2, 3])}, state, params)
    with pytest.raises(owl.OwlTypeError, match=r"grads\['c'\] is one too many"):
        optimizer.update({**params, "c": owl.ones([1])}, state, params)
    with pytest.raises(owl.ShapeError, match=r"grads\['w'\] has shape \[3, 2\], params\['w'\] \[2, 3\]"):
        optimizer.update({"w": owl.ones([3, 2]), "b": owl.ones([2])}, state, params)
    with pytest.raises(owl.OwlTypeError, match="the state is a dict with 'step', 'momentum'"):
        optimizer.update(params, {"step": 0}, params)
    with pytest.raises(owl.DTypeError, match=r"params\['w'\] must be an owl array, not float"):
        optimizer.init({"w": 1.5})


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.SGD(-1),
        lambda: optim.SGD(0.1, -0.5),
        lambda: optim.SGD(0.1, nesterov=True),
        lambda: optim.SGD(math.nan),
        lambda: optim.Adam(0.1, (1.0, 0.9)),
        lambda: optim.Adam(0.1, eps=-1),
        lambda: optim.RMSprop(0.1, alpha=1.5),
        lambda: optim.Adagrad(0.1, initial=-1),
        lambda: optim.Accumulated(optim.SGD(0.1), 0),
        lambda: optim.cosine(0.1, 0),
        lambda: optim.clip_by_norm([owl.ones([1])], -1),
        lambda: optim.clip_by_value([owl.ones([1])], math.nan),
        lambda: optim.global_norm({}),
    ],
)
def test_impossible_settings(make):
    with pytest.raises(owl.OwlValueError):
        make()


def test_a_rate_that_is_no_number():
    with pytest.raises(owl.OwlTypeError, match="a number or a schedule, not str"):
        optim.Adam("fast")


def test_schedules():
    assert [optim.constant(0.5)(k) for k in (0, 9)] == [0.5, 0.5]
    assert [optim.step_decay(1.0, 3)(k) for k in (0, 2, 3, 6)] == pytest.approx([1, 1, 0.1, 0.01])
    assert [optim.linear(0.0, 1.0, 4)(k) for k in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert [optim.cosine(2.0, 4, 1.0)(k) for k in (0, 2, 4, 7)] == pytest.approx([2, 1.5, 1, 1])
    assert [optim.warmup(2, 1.0, 0.5)(k) for k in range(4)] == [0.5, 0.75, 1, 1]
    assert [optim.warmup(1, optim.step_decay(1.0, 1, 0.5))(k) for k in range(4)] == [0, 1, 0.5, 0.25]
    # The rate of a step is that of its number.
    optimizer = optim.SGD(optim.linear(1.0, 0.0, 2))
    w, state = owl.zeros([1]), optimizer.init(owl.zeros([1]))
    seen = []
    for _ in range(3):
        w, state = optimizer.update(owl.ones([1]), state, w)
        seen.append(w.to_numpy()[0])
    assert seen == [-1, -1.5, -1.5]


def test_clipping():
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(3, 4)), rng.normal(size=5)]
    grads = {"w": owl.from_numpy(values[0], np.float64), "b": owl.from_numpy(values[1], np.float64)}
    norm = math.sqrt(sum((value**2).sum() for value in values))
    assert float(optim.global_norm(grads)) == pytest.approx(norm)
    for most in (0.5, 100.0):
        clipped, found = optim.clip_by_norm(grads, most)
        assert float(found) == pytest.approx(norm)
        np.testing.assert_allclose(clipped["w"].to_numpy(), values[0] * min(1, most / (norm + 1e-6)), rtol=1e-12)
    np.testing.assert_array_equal(optim.clip_by_value(grads, 0.5)["b"].to_numpy(), np.clip(values[1], -0.5, 0.5))


def test_accumulated_gradients_are_their_mean():
    rng = np.random.default_rng(0)
    grads = rng.normal(size=(6, 4))
    plain, accumulated = optim.Adam(0.1), optim.Accumulated(optim.Adam(0.1), 3)
    a = b = owl.zeros([4], dtype=np.float64)
    state, other = plain.init(a), accumulated.init(b)
    for k in range(2):
        mean = owl.from_numpy(grads[3 * k : 3 * k + 3].mean(0), np.float64)
        a, state = plain.update(mean, state, a)
        for g in grads[3 * k : 3 * k + 3]:
            before = b
            b, other = accumulated.update(owl.from_numpy(g, np.float64), other, b)
            assert (b is before) == (other["count"] > 0)
    np.testing.assert_allclose(b.to_numpy(), a.to_numpy(), rtol=1e-12)
    assert other["optimizer"]["step"] == 2


def test_training_by_gradients_and_an_optimizer():
    """A line through points: the loss falls to that of least squares."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    y = x @ np.array([[1.0], [-2.0], [0.5]]) + 3 + 0.1 * rng.normal(size=(50, 1))
    data, target = owl.from_numpy(x, np.float64), owl.from_numpy(y, np.float64)

    def loss(p):
        error = p["w"] * data + p["b"] - target
        return elewise_square(error).mean()

    def elewise_square(z):
        return owl.elewise.mult(z, z)

    optimizer = optim.AdamW(optim.cosine(0.1, 300), weight_decay=0.0)
    params = {"w": owl.zeros([1, 3], dtype=np.float64), "b": owl.zeros([1, 1], dtype=np.float64)}
    state = optimizer.init(params)
    step = owl.value_and_grad(loss)
    for _ in range(300):
        value, grads = step(params)
        params, state = optimizer.update(grads, state, params)
    design = np.hstack([x, np.ones((50, 1))])
    best = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(params["w"].to_numpy()[:, 0], best[:3, 0], atol=1e-4)
    assert float(value) == pytest.approx(((design @ best - y) ** 2).mean(), rel=1e-4)
