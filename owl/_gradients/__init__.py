"""Gradients of functions of arrays: the backward pass is recorded, as if it had been written by hand."""

import functools
from collections.abc import Callable
from typing import Any

from owl import _runtime


def grad(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of `function` with respect to some arguments.

    Parameters
    ----------
    function : callable
        A plain function that returns an owl array of one element. Each differentiated argument is an array, or a nest
        of dicts, lists, tuples, NamedTuples and dataclasses with arrays in them. Control flow, in-place operators and
        reads such as ``float(x)`` are welcome; a read costs what it costs elsewhere.
    argnums : int or tuple of int
        Which positional arguments.
    has_aux : bool
        Whether `function` returns a pair of that array and anything else, which is passed on.

    Returns
    -------
    callable
        It takes what `function` takes, and returns a gradient of the argument's structure, or a tuple of them if
        `argnums` is one; with `has_aux` a pair of that and what `function` has added.

    Raises
    ------
    owl.OwlTypeError, owl.ShapeError, owl.DTypeError
        If the function is a coroutine function, its result is not one number, an argument is no nest of arrays, or an
        operation on the way has no derivative: it is named, with its line.

    Notes
    -----
    The call records the function's operations and those of its backward pass, and evaluates nothing. Gradients are
    arrays like all others: they may be awaited, and differentiated again. What is not used of them is never computed.
    Arrays that the function has from elsewhere are constants. Comparisons, positions such as `argmax`, and counts
    have the gradient 0; `maximum` and `minimum` send a tie to their first operand, `max` and `min` divide it among
    equals, `relu` passes 0 at 0. Any thread or task may call it; what other threads record meanwhile is not seen.

    Examples
    --------
    >>> x = owl.from_numpy(np.array([1.0, 2.0, 3.0], np.float32))
    >>> owl.grad(lambda x: (x**2).sum())(x).to_numpy()
    array([2., 4., 6.], dtype=float32)
    """
    _runtime.check_differentiable(function, argnums, "grad")

    @functools.wraps(function)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, gradients = _runtime.value_and_gradients(function, args, kwargs, argnums, has_aux, "grad")
        return (gradients, value[1]) if has_aux else gradients

    return gradient


def value_and_grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives the result of `function` and its gradient: a pair. See `grad`.

    Examples
    --------
    >>> value, gradient = owl.value_and_grad(lambda x: (x * x.trans()).sum())(owl.ones([1, 3]))
    >>> float(value), gradient.to_numpy().tolist()
    (3.0, [[2.0], [2.0], [2.0]])
    """
    _runtime.check_differentiable(function, argnums, "value_and_grad")

    @functools.wraps(function)
    def with_gradient(*args: Any, **kwargs: Any) -> Any:
        return _runtime.value_and_gradients(function, args, kwargs, argnums, has_aux, "value_and_grad")

    return with_gradient


def vjp(function: Callable[..., Any], *args: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """The result of ``function(*args)``, and a function from a cotangent of it to the cotangents of all arguments.

    The result may be a nest of arrays of any shapes; its cotangent has the same structure and shapes. The returned
    function may be called more than once, by any thread; it keeps what the derivatives read. Records, and evaluates
    nothing. See `grad`.

    Examples
    --------
    >>> y, pull_back = owl.vjp(owl.elewise.exp, owl.zeros([2]))
    >>> pull_back(owl.from_numpy(np.array([1, 2], np.float32)))[0].to_numpy()
    array([1., 2.], dtype=float32)
    """
    result, pull_back = _runtime.taped_call(function, args, "vjp")
    return result, pull_back


def stop_gradient(x: Any) -> Any:
    """The same values, which are constants for derivatives.

    Takes an array or a nest; copies nothing and evaluates nothing.

    Examples
    --------
    >>> owl.grad(lambda x: (owl.stop_gradient(x) * x.trans()).sum())(owl.ones([1, 2])).to_numpy().tolist()
    [[1.0], [1.0]]
    """
    return _runtime.untaped(x, "stop_gradient")


class custom_vjp:  # noqa: N801 - used as a decorator
    """A function with a backward pass of its own.

    ``defvjp(forward, backward)`` gives it: ``forward(*args)`` returns the result and whatever the backward pass needs,
    ``backward(kept, cotangent)`` a tuple with a cotangent for each argument, None for 0. All that is differentiated
    must be among the arguments. Where nothing is differentiated, the function itself runs. A gradient of a gradient
    goes through the operations of `forward` and `backward`.

    Examples
    --------
    >>> @owl.custom_vjp
    ... def clipped(x, limit):
    ...     return x.copy()
    >>> clipped.defvjp(lambda x, limit: (x.copy(), limit), lambda limit, g: (owl.elewise.clip(g, -limit, limit), None))
    >>> owl.grad(lambda x: (clipped(x, 1) * 5).sum())(owl.ones([2])).to_numpy()
    array([1., 1.], dtype=float32)
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        _runtime.check_differentiable(function, 0, "custom_vjp")
        functools.update_wrapper(self, function)
        self.function = function
        self.rule: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Sets the two functions of the rule."""
        self.rule = (forward, backward)

    def __call__(self, *args: Any) -> Any:
        if self.rule is None:
            raise _runtime.OwlRuntimeError("[custom_vjp] the function has no rule yet: defvjp gives it one")
        return _runtime.call_with_rule(self.function, *self.rule, args, "custom_vjp")


def remat(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose intermediate values are computed again in the backward pass instead of being kept.

    For long chains: memory is then needed for what goes in and out of each call, and for one call's intermediate
    values at a time. The function must give the same result when it is called again; random arrays that it draws are
    the same. Arrays that it has from elsewhere are differentiated as usual. In-place operators on its arguments do not
    reach the caller's arrays.

    Examples
    --------
    >>> step = owl.remat(lambda h: owl.elewise.tanh(h * 2))
    >>> owl.grad(lambda h: step(step(h)).sum())(owl.zeros([2])).to_numpy()
    array([4., 4.], dtype=float32)
    """
    _runtime.check_differentiable(function, 0, "remat")

    @functools.wraps(function)
    def rematerialized(*args: Any, **kwargs: Any) -> Any:
        return _runtime.call_rematerialized(function, args, kwargs)

    return rematerialized
