"""`owl.grad` and its like: arguments, nests, nesting, rules, and what they refuse."""

import asyncio
import collections
import dataclasses
import math
import threading

import numpy as np
import pytest

import owl
from owl import elewise


def array(*numbers):
    return doubles(np.array(numbers))


def doubles(values):
    return owl.from_numpy(values, np.float64)


def numbers(x):
    return x.to_numpy().tolist()


def square(x):
    return (x**2).sum()


def test_of_some_arguments():
    f = lambda x, y, k: (k * elewise.mult(x, y)).sum()  # noqa: E731
    assert numbers(owl.grad(f)(array(1, 2), array(3, 4), 2)) == [6, 8]
    assert numbers(owl.grad(f, 1)(array(1, 2), array(3, 4), 2)) == [2, 4]
    assert numbers(owl.grad(f, -2)(array(1, 2), array(3, 4), 2)) == [2, 4]
    both = owl.grad(f, (1, 0))(array(1, 2), array(3, 4), k=2)
    assert [numbers(g) for g in both] == [[2, 4], [6, 8]]
    assert [numbers(g) for g in owl.grad(f, (0,))(array(1, 2), array(3, 4), 2)] == [[6, 8]]


def test_value_and_what_comes_along():
    value, gradient = owl.value_and_grad(square)(array(1, 2))
    assert (float(value), numbers(gradient)) == (5, [2, 4])
    f = lambda x: (square(x), "more")  # noqa: E731
    (value, more), gradient = owl.value_and_grad(f, has_aux=True)(array(3))
    assert (float(value), more, numbers(gradient)) == (9, "more", [6])
    gradient, more = owl.grad(f, has_aux=True)(array(3))
    assert (more, numbers(gradient)) == ("more", [6])


def test_nothing_is_evaluated():
    x = array(1, 2) + 1
    value, gradient = owl.value_and_grad(square)(x)
    assert {x.state, value.state, gradient.state} == {"recorded"}


Layer = collections.namedtuple("Layer", "w b")


@dataclasses.dataclass(frozen=True)
class Model:
    layers: list
    scale: owl.NArray
    activation: str = "tanh"


class Mapping(dict):
    pass


def test_nests_keep_their_structure():
    model = Model([Layer(array(1, 2), array(3)), (array(4), None, 5)], array(6))
    nest = Mapping(model=model, rest=collections.OrderedDict(b=[], a={"z": array(7), "count": 3}))

    def f(nest):
        model = nest["model"]
        assert model.activation == "tanh"
        assert model.layers[1][2] == 5
        return model.layers[0].w.sum() * 2 + 3 * model.layers[1][0] + model.scale**2 + nest["rest"]["a"]["z"]

    gradient = owl.grad(f)(nest)
    assert (type(gradient), type(gradient["model"]), type(gradient["rest"])) == (
        Mapping,
        Model,
        collections.OrderedDict,
    )
    assert type(gradient["model"].layers[0]) is Layer
    assert numbers(gradient["model"].layers[0].w) == [2, 2]
    assert numbers(gradient["model"].layers[0].b) == [0]
    assert gradient["model"].layers[1][1:] == (None, 5)
    assert numbers(gradient["model"].scale) == [12]
    assert numbers(gradient["rest"]["a"]["z"]) == [1]
    assert list(gradient["rest"]) == ["b", "a"]


@pytest.mark.parametrize(
    ("nest", "message"),
    [
        (1.5, r"\[grad\] argument 0 must be an owl array, not float: owl.from_numpy"),
        (np.ones(3), r"argument 0 must be an owl array, not ndarray: owl.from_numpy"),
        (
            {"w": [1, {"b": np.float32(2)}]},
            r"argument 0\['w'\]\[1\]\['b'\] must be an owl array, not float32",
        ),
        (Layer({1, 2}, None), r"argument 0.w must be an owl array, not set"),
    ],
)
def test_a_foreign_leaf_is_named(nest, message):
    with pytest.raises(owl.DTypeError, match=message):
        owl.grad(lambda x: owl.ones([1]))(nest)


def test_the_result_must_be_one_number():
    with pytest.raises(owl.ShapeError, match=r"\[grad\] the function returns one number.*not shape \[2\].*owl.vjp"):
        owl.grad(lambda x: x)(array(1, 2))
    with pytest.raises(owl.ShapeError, match="not float"):
        owl.value_and_grad(lambda x: float(square(x)))(array(1))
    with pytest.raises(owl.OwlTypeError, match="returns a pair, not NArray"):
        owl.grad(square, has_aux=True)(array(1))


def test_arguments_that_there_are_not():
    with pytest.raises(owl.OwlIndexError, match="there is no argument 1 among 1"):
        owl.grad(square, 1)(array(1))
    with pytest.raises(owl.OwlValueError, match="names argument 0 twice"):
        owl.grad(square, (0, 0))(array(1))
    with pytest.raises(owl.OwlValueError, match="names no argument"):
        owl.grad(square, ())
    with pytest.raises(owl.DTypeError, match="argnums"):
        owl.grad(square, "x")
    with pytest.raises(owl.OwlValueError, match="names argument 0 twice"):
        owl.grad(square, (0, -1))(array(1))


def test_coroutine_functions_are_refused():
    async def f(x):
        return square(x)

    with pytest.raises(owl.OwlTypeError, match="f is a coroutine function"):
        owl.grad(f)
    with pytest.raises(owl.OwlTypeError, match="a plain one"):
        owl.grad(lambda x: f(x))(array(1))
    with pytest.raises(owl.OwlTypeError, match="a function is wanted, not int"):
        owl.value_and_grad(3)


def test_what_does_not_depend_has_gradient_zero():
    other = array(1, 2)
    assert numbers(owl.grad(lambda x: square(other))(array(3, 4))) == [0, 0]
    assert numbers(owl.grad(lambda x: (x > 1).sum() + x.argmax(0))(array(3, 4))) == [0, 0]
    gradient = owl.grad(lambda x: square(other))(owl.ones([2, 3]))
    assert (gradient.shape, gradient.dtype) == ([2, 3], np.float32)


def test_the_argument_itself():
    assert numbers(owl.grad(lambda x: x)(array(3))) == [1]
    (a, b), pull_back = owl.vjp(lambda x, y: (x, x), array(1), array(2))
    x, y = pull_back((array(5), array(7)))
    assert (numbers(a), numbers(b), numbers(x), numbers(y)) == ([1], [1], [12], [0])


def test_ties():
    x = array(2, 2, 1)
    both = owl.grad(lambda x, y: elewise.maximum(x, y).sum(), (0, 1))(x, array(2, 3, 0))
    assert [numbers(g) for g in both] == [[1, 0, 1], [0, 1, 0]]
    both = owl.grad(lambda x, y: elewise.minimum(x, y).sum(), (0, 1))(x, array(2, 3, 0))
    assert [numbers(g) for g in both] == [[1, 1, 0], [0, 0, 1]]
    assert numbers(owl.grad(lambda x: x.max(0))(x)) == [0.5, 0.5, 0]
    assert numbers(owl.grad(lambda x: elewise.relu(x).sum())(array(-1, 0, 1))) == [0, 0, 1]


def test_arrays_from_elsewhere_are_constants_even_the_argument():
    x = array(3)
    assert numbers(owl.grad(lambda y: elewise.mult(x, y))(x)) == [3]
    # The inner function's argument is not the outer one's.
    assert numbers(owl.grad(lambda x: elewise.mult(x, owl.grad(lambda y: elewise.mult(x, y))(x)))(x)) == [6]
    assert [numbers(g) for g in owl.grad(lambda a, b: elewise.mult(a, b), (0, 1))(x, x)] == [[3], [3]]


def test_gradients_of_gradients():
    f = owl.grad(lambda x: (x**4).sum())
    g = owl.grad(lambda x: f(x).sum())
    h = owl.grad(lambda x: g(x).sum())
    assert (numbers(f(array(2))), numbers(g(array(2))), numbers(h(array(2)))) == ([32], [48], [48])


def test_hessian_vector_product():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 4))
    x, v = doubles(rng.normal(size=(1, 4))), doubles(rng.normal(size=(1, 4)))
    matrix = doubles(a)
    quadratic = lambda x: (x.trans() * matrix * x).sum()  # noqa: E731
    found = owl.grad(lambda x: (owl.grad(quadratic)(x).trans() * v).sum())(x)
    np.testing.assert_allclose(found.to_numpy(), v.to_numpy() @ (a + a.T), rtol=1e-12)


def test_in_place_operators_and_reads():
    def f(x):
        y = x
        while float(y.sum()) < 100:
            y = y * 2
        x *= 3
        y += x
        return y.sum()

    x = array(10, 20)
    assert numbers(owl.grad(f)(x)) == [7, 7]
    assert numbers(x) == [10, 20]


def test_values_outlive_the_call_and_do_not_depend_on_it():
    kept = []

    def f(x):
        kept.append(x * 2)
        return square(kept[0])

    assert numbers(owl.grad(f)(array(1))) == [8]
    assert numbers(owl.grad(lambda y: elewise.mult(kept[0], y))(array(5))) == [2]


def test_cotangents_of_a_nest():
    def f(x, y):
        return {"sum": x + y, "product": elewise.mult(x, y)}

    result, pull_back = owl.vjp(f, array(2, 3), array(5, 7))
    assert numbers(result["product"]) == [10, 21]
    for _ in range(2):
        x, y = pull_back({"sum": array(1, 1), "product": array(10, 100)})
        assert (numbers(x), numbers(y)) == ([51, 701], [21, 301])
    with pytest.raises(owl.OwlTypeError, match=r"the cotangent\['product'\] is missing"):
        pull_back({"sum": array(1, 1)})
    with pytest.raises(owl.ShapeError, match=r"shape \[1\], the result that it belongs to \[2\]"):
        pull_back({"sum": array(1), "product": array(1, 1)})
    x, _ = pull_back({"sum": owl.ones([2]), "product": owl.zeros([2])})  # float32
    assert (numbers(x), x.dtype) == ([1, 1], np.float64)


def test_in_place_operators_on_a_result_do_not_reach_its_pullback():
    """They point the caller's handle elsewhere: the result's cotangents were then taken for those of nothing."""
    y, pull_back = owl.vjp(elewise.exp, array(0, 0))
    y += 1
    assert numbers(pull_back(array(1, 2))[0]) == [1, 2]
    assert numbers(y) == [2, 2]


def test_a_cotangent_may_be_differentiated():
    _, pull_back = owl.vjp(elewise.exp, array(0, 1))
    found = owl.grad(lambda g: pull_back(g)[0].sum())(array(1, 1))
    np.testing.assert_allclose(found.to_numpy(), [1, math.e])


def test_stop_gradient():
    x = {"a": array(2), "b": 3}
    assert numbers(owl.grad(lambda x: elewise.mult(x["a"], owl.stop_gradient(x)["a"]))(x)["a"]) == [2]
    assert owl.stop_gradient(x)["b"] == 3
    assert numbers(owl.stop_gradient(x)["a"]) == [2]


def test_float32_stays_float32():
    x = owl.ones([2, 2])
    value, gradient = owl.value_and_grad(lambda x: (x * x).mean())(x)
    assert value.dtype == gradient.dtype == np.float32
    mixed = owl.grad(lambda x, y: (x + y).sum(), (0, 1))(owl.ones([2]), array(1, 2))
    assert [g.dtype for g in mixed] == [np.float32, np.float64]


def test_an_operation_without_a_derivative_is_named():
    pooler = owl.conv.Pooler(3, 3, 1, 1)
    f = lambda x: elewise.exp(pooler.ff(x)).sum()  # noqa: E731
    g = lambda x: square(owl.grad(f)(x))  # noqa: E731
    with pytest.raises(owl.OwlTypeError, match=rf"\[grad\] pool_backward has no derivative.*{__file__}"):
        owl.grad(g)(owl.ones([4, 4, 1, 1]))


def test_failures_name_the_forward_line():
    def f(x):
        return (x**3).sum()  # the line

    gradient = owl.grad(f)(array(1, 2))
    with owl.testing.faults("mul"), pytest.raises(owl.ExecutionError) as caught:
        gradient.to_numpy()
    line = f.__code__.co_firstlineno + 1
    assert (caught.value.origins[0][1:]) == (__file__, line)


def test_an_error_in_the_function_ends_the_call():
    def f(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        owl.grad(f)(array(1))
    assert not owl._runtime.is_taping()
    assert numbers(owl.grad(square)(array(1))) == [2]


# ------------------------------------------------------------------------------------------------------------- rules


@owl.custom_vjp
def reversed_gradient(x, factor):
    return x["a"] + 0


reversed_gradient.defvjp(
    lambda x, factor: (x["a"] + 0, (x, factor)),
    lambda kept, g: ({"a": -g * kept[1]}, None),
)


def test_a_rule_of_its_own():
    x = {"a": array(1, 2)}
    assert numbers(reversed_gradient(x, 5)) == [1, 2]
    gradient = owl.grad(lambda x: (reversed_gradient(x, 5) * 3).sum() + x["a"].sum())(x)
    assert numbers(gradient["a"]) == [-14, -14]
    assert reversed_gradient.__name__ == "reversed_gradient"


def test_a_rule_for_a_function_without_a_gradient():
    """That no operation of the forward rule depends smoothly on an argument does not make the gradient 0."""
    straight_through = owl.custom_vjp(lambda x: x > 0)
    straight_through.defvjp(lambda x: ((x > 0) * 1.0, None), lambda kept, g: (g * 2,))
    assert numbers(owl.grad(lambda x: (straight_through(x) * 3).sum())(array(1, -1))) == [6, 6]


def test_gradient_of_a_gradient_through_a_rule():
    @owl.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, g: (elewise.mult(g, 3 * x**2),))
    first = owl.grad(lambda x: cube(x).sum())
    assert numbers(first(array(2))) == [12]
    assert numbers(owl.grad(lambda x: first(x).sum())(array(2))) == [12]


def test_rules_that_do_not_hold():
    f = owl.custom_vjp(lambda x: x * 2)
    with pytest.raises(owl.OwlRuntimeError, match="has no rule yet"):
        f(array(1))
    f.defvjp(lambda x: x * 2, lambda kept, g: (g,))
    with pytest.raises(owl.OwlTypeError, match="the forward rule returns"):
        owl.grad(lambda x: f(x))(array(1))
    f.defvjp(lambda x: (x * 2, None), lambda kept, g: g)
    with pytest.raises(owl.OwlTypeError, match="a tuple of 1 cotangents"):
        owl.grad(lambda x: f(x))(array(1))
    f.defvjp(lambda x: (x * 2, None), lambda kept, g: (owl.ones([3]),))
    with pytest.raises(owl.ShapeError, match=r"cotangent of shape \[3\] for an argument of shape \[1\]"):
        owl.grad(lambda x: f(x))(array(1))
    with pytest.raises(owl.OwlRuntimeError, match="none of its arguments"):

        def g(x):
            inner = owl.custom_vjp(lambda y: y)
            inner.defvjp(lambda y: (elewise.mult(x, y), None), lambda kept, g: (g,))
            return inner(array(1))

        owl.grad(g)(array(1))


def test_a_rule_that_uses_in_place_operators():
    """An argument that the forward rule pointed elsewhere was no argument any more."""

    def forward(x, factor):
        x *= factor
        return x + 0, factor

    scaled = owl.custom_vjp(lambda x, factor: x * factor)
    scaled.defvjp(forward, lambda factor, g: (g * factor, None))
    x = array(1, 2)
    assert numbers(owl.grad(lambda x: scaled(x, 1.5).sum() + x.sum())(x)) == [2.5, 2.5]
    assert numbers(x) == [1, 2]


# ---------------------------------------------------------------------------------------------------- rematerialization


def test_computing_again_gives_the_same_gradients():
    def layer(h, w):
        return elewise.tanh(w * h)

    def net(step):
        def f(w, h):
            for _ in range(4):
                h = step(h, w)
            return square(h)

        return f

    rng = np.random.default_rng(0)
    w, h = doubles(rng.normal(size=(3, 3))), doubles(rng.normal(size=(2, 3)))
    plain = owl.grad(net(layer), (0, 1))(w, h)
    again = owl.grad(net(owl.remat(layer)), (0, 1))(w, h)
    for a, b in zip(plain, again, strict=True):
        np.testing.assert_allclose(a.to_numpy(), b.to_numpy(), rtol=1e-12)
    both = owl.grad(lambda w: square(owl.grad(net(owl.remat(layer)))(w, h)))(w)
    once = owl.grad(lambda w: square(owl.grad(net(layer))(w, h)))(w)
    np.testing.assert_allclose(both.to_numpy(), once.to_numpy(), rtol=1e-10)


def test_computing_again_sees_what_the_function_has_from_elsewhere():
    def f(w, x):
        inner = owl.remat(lambda x: elewise.mult(w, elewise.exp(x)))
        return inner(x).sum() + inner(x * 2).sum()

    plain = owl.grad(lambda w, x: (elewise.mult(w, elewise.exp(x)) + elewise.mult(w, elewise.exp(x * 2))).sum(), (0, 1))
    for found, expected in zip(
        owl.grad(f, (0, 1))(array(2, 3), array(0, 1)), plain(array(2, 3), array(0, 1)), strict=True
    ):
        np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), rtol=1e-14)


def test_computing_again_is_of_the_arguments_as_they_were():
    """An in-place operator after the call pointed the argument's handle at a value that the call had not read."""

    def f(step):
        def total(h):
            y = step(h, 0.5)
            h *= 3.0
            return y.sum() + h.sum()

        return total

    def step(h, scale):
        h *= scale
        return elewise.exp(h)

    plain = owl.grad(f(lambda h, scale: elewise.exp(h * scale)))(array(1, 2))
    assert numbers(owl.grad(f(owl.remat(lambda h, scale: elewise.exp(h * scale))))(array(1, 2))) == numbers(plain)
    assert numbers(owl.grad(f(owl.remat(step)))(array(1, 2))) == numbers(plain)
    h = array(1, 2)
    owl.remat(step)(h, 0.5)
    assert numbers(h) == [1, 2]


def test_computing_again_draws_the_same_numbers():
    def dropout(x):
        with owl.random_stream("dropout"):
            x = elewise.mult(x, owl.randb(x.shape, 0.5))
        return elewise.mult(x, owl.randn(x.shape, 0.0, 1.0))

    def f(step):
        return lambda x: square(step(step(x)))

    x = owl.from_numpy(np.random.default_rng(0).normal(size=50).astype(np.float32))
    found = []
    for step in (dropout, owl.remat(dropout), owl.remat(lambda x: owl.remat(dropout)(x))):
        owl.seed(7)
        found.append(owl.grad(f(step))(x).to_numpy())
        found.append(owl.randn([3]).to_numpy())
    for k in (2, 4):
        np.testing.assert_array_equal(found[0], found[k])
        np.testing.assert_array_equal(found[1], found[k + 1])


# ---------------------------------------------------------------------------------------------- threads and tasks


def test_threads_differentiate_at_once():
    found = {}

    def work(k):
        for _ in range(50):
            x = array(k, k + 1)
            found.setdefault(k, []).append(numbers(owl.grad(square)(x)))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {k: [[2 * k, 2 * k + 2]] * 50 for k in range(4)}


def test_tasks_differentiate_at_once():
    async def work(k):
        out = []
        for _ in range(10):
            gradient = owl.grad(square)(array(k))
            out.append((await gradient.eval()).to_numpy()[0])
            await asyncio.sleep(0)
        return out

    async def main():
        return await asyncio.gather(*(work(k) for k in range(5)))

    assert asyncio.run(main()) == [[2 * k] * 10 for k in range(5)]


def test_what_another_thread_records_meanwhile_is_not_seen():
    x = array(3)

    def f(y):
        got = []
        thread = threading.Thread(target=lambda: got.append(y * 2))
        thread.start()
        thread.join()
        return elewise.mult(y, got[0])

    assert numbers(owl.grad(f)(x)) == [6]


def test_gradients_across_devices():
    first, second = owl.create_cpu_device(), owl.create_cpu_device()

    def f(w, v):
        with first:
            h = elewise.tanh(w * 2)
        with second:
            return (v * h).sum()

    with first:
        w = doubles(np.array([[1.0], [2.0]]))
    with second:
        v = doubles(np.array([[3.0]]))
    gw, gv = owl.grad(f, (0, 1))(w, v)
    np.testing.assert_allclose(gw.to_numpy(), 6 * (1 - np.tanh([[2.0], [4.0]]) ** 2))
    np.testing.assert_allclose(gv.to_numpy(), [[np.tanh(2) + np.tanh(4)]])
    moved = owl.grad(lambda x: square(x.to(second)))(w)
    assert (moved.device, numbers(moved)) == (first, [[2], [4]])
