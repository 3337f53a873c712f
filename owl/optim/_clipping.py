"""Gradients within bounds."""

from typing import Any

from owl import _runtime, elewise
from owl._runtime import NArray, OwlValueError
from owl.optim._nests import mapped


def global_norm(nest: Any) -> NArray:
    """The root of the sum of the squares of all numbers in a nest, of shape ``[1]``. Evaluates nothing.

    >>> owl.optim.global_norm({"a": owl.ones([3]), "b": owl.ones([1, 1])}).to_numpy()
    array([2.], dtype=float32)
    """
    leaves = _runtime.nest_leaves(nest, "global_norm", "nest")
    if not leaves:
        raise OwlValueError("[global_norm] there is no array")
    parts = [elewise.mult(leaf, leaf).sum().reshape([1]) for leaf in leaves]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return elewise.sqrt(total)


def clip_by_norm(grads: Any, most: float) -> tuple[Any, NArray]:
    """Gradients, scaled so that their `global_norm` is at most `most`, and that norm as it was.

    All are multiplied by ``min(1, most / (norm + 1e-6))``, as `torch.nn.utils.clip_grad_norm_` does. Records, and
    evaluates nothing.

    >>> clipped, norm = owl.optim.clip_by_norm([owl.full([4], 5.0)], 1.0)
    >>> norm.to_numpy(), clipped[0].to_numpy()
    (array([10.], dtype=float32), array([0.5, 0.5, 0.5, 0.5], dtype=float32))
    """
    _check(most, "clip_by_norm")
    norm = global_norm(grads)
    factor = elewise.minimum(most / (norm + 1e-6), 1.0)
    scaled = mapped(lambda x: elewise.mult(x, factor.reshape([1] * max(x.ndim, 1))), grads, "clip_by_norm", "grads")
    return scaled, norm


def clip_by_value(grads: Any, most: float) -> Any:
    """Gradients whose numbers are limited to ``-most`` and `most`. Records, and evaluates nothing.

    >>> owl.optim.clip_by_value([owl.full([2], -5.0)], 1.0)[0].to_numpy()
    array([-1., -1.], dtype=float32)
    """
    _check(most, "clip_by_value")
    return mapped(lambda x: elewise.clip(x, -most, most), grads, "clip_by_value", "grads")


def _check(most: float, what: str) -> None:
    if not most >= 0:
        raise OwlValueError(f"[{what}] the bound cannot be {most}: it is at least 0")
