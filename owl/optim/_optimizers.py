"""Gradient descent in its usual forms, with the arithmetic of PyTorch's optimizers, step for step.

All arithmetic of a parameter is element by element, so one pass over memory makes the new parameter and its new
state, in the place of the old ones if nothing else holds these.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from owl import _runtime, elewise
from owl._runtime import NArray, OwlTypeError, OwlValueError
from owl.optim._nests import leaves_like, mapped, zeros_like
from owl.optim._schedules import Schedule, as_schedule


class Optimizer:
    """What all optimizers have in common.

    The state is a dict: `step`, the number of updates so far, and nests of the parameters' structure. It may be
    saved, and a run goes on from it with the same bits. Nothing here evaluates; any thread may call it.
    """

    slots: ClassVar[tuple[str, ...]] = ()  # the nests of the state

    def __init__(self, lr: Schedule | float, weight_decay: float = 0.0) -> None:
        self.rate = as_schedule(lr, self.name)
        self.weight_decay = self._at_least_0(weight_decay, "weight_decay")

    @property
    def name(self) -> str:
        """That of the class, for errors."""
        return type(self).__name__

    def _at_least_0(self, value: float, name: str) -> float:
        if not value >= 0:
            raise OwlValueError(f"[{self.name}] {name} cannot be {value}: it is at least 0")
        return float(value)

    def _below_1(self, value: float, name: str) -> float:
        if not 0 <= value < 1:
            raise OwlValueError(f"[{self.name}] {name} cannot be {value}: it is at least 0 and below 1")
        return float(value)

    def init(self, params: Any) -> dict[str, Any]:
        """The state before the first update of these parameters."""
        start = {slot: mapped(self._first, params, f"{self.name}.init", "params") for slot in self._used()}
        return {"step": 0, **start}

    def update(self, grads: Any, state: dict[str, Any], params: Any) -> tuple[Any, dict[str, Any]]:
        """New parameters and a new state, from gradients of the parameters' structure.

        The old ones stay what they are. Where nothing else holds them, the new values are written in their place.

        Raises
        ------
        owl.OwlTypeError, owl.ShapeError
            If structures or shapes differ; the path of the array is named.
        """
        what = f"{self.name}.update"
        slots = self._used()
        if not isinstance(state, dict) or set(state) != {"step", *slots}:
            wanted = ", ".join(repr(key) for key in ("step", *slots))
            raise OwlTypeError(f"[{what}] the state is a dict with {wanted}: init makes one")
        rate = self.rate(state["step"])
        numbers = self._numbers(rate, state["step"] + 1)
        leaves = _runtime.nest_leaves(params, what, "params")
        given = leaves_like(grads, params, what, "grads")
        kept = [leaves_like(state[slot], params, what, f"state[{slot!r}]") for slot in slots]
        # State is made before parameters, so that it is there when the last reader of a gradient comes.
        results = [self._step(*parts, *numbers) for parts in zip(leaves, given, *kept, strict=True)]
        out = {"step": state["step"] + 1}
        for k, slot in enumerate(slots):
            out[slot] = _runtime.nest_rebuilt(params, [result[k + 1] for result in results])
        return _runtime.nest_rebuilt(params, [result[0] for result in results]), out

    def _used(self) -> tuple[str, ...]:
        return self.slots

    def _first(self, param: NArray) -> NArray:
        """The first value of a slot."""
        return zeros_like(param)

    def _numbers(self, rate: float, step: int) -> tuple[float, ...]:  # noqa: ARG002 - for those that want it
        """What is the same for all parameters in a step, which is counted from 1."""
        return (rate,)

    def _step(self, *parts: Any) -> tuple[NArray, ...]:
        """The new parameter and slots, from the parameter, its gradient, its slots and the step's numbers."""
        raise NotImplementedError

    def _decayed(self, param: NArray, grad: NArray) -> NArray:
        return grad + self.weight_decay * param if self.weight_decay else grad


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted.

    ``v = momentum * v + g``, ``w -= lr * v``; with `nesterov` ``w -= lr * (g + momentum * v)``; `g` has
    ``weight_decay * w`` added. As `torch.optim.SGD`. `lr` is a number or a schedule.

    >>> owl.optim.SGD(0.1, momentum=0.9).init([owl.ones([2])])["step"]
    0
    """

    slots = ("momentum",)

    def __init__(
        self, lr: Schedule | float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        super().__init__(lr, weight_decay)
        self.momentum = self._at_least_0(momentum, "momentum")
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise OwlValueError("[SGD] nesterov needs a momentum")

    def _used(self) -> tuple[str, ...]:
        return self.slots if self.momentum else ()

    def _step(self, param: NArray, grad: NArray, *rest: Any) -> tuple[NArray, ...]:
        rate = rest[-1]
        grad = self._decayed(param, grad)
        if not self.momentum:
            return (param - rate * grad,)
        velocity = self.momentum * rest[0] + grad
        return param - rate * (grad + self.momentum * velocity if self.nesterov else velocity), velocity


class Adam(Optimizer):
    """Steps of the size of a mean gradient over its root mean square (Kingma and Ba, 2015).

    ``m = b1 * m + (1 - b1) * g``, ``v = b2 * v + (1 - b2) * g**2``,
    ``w -= lr / (1 - b1**t) * m / (sqrt(v) / sqrt(1 - b2**t) + eps)`` in step `t`; `g` has ``weight_decay * w`` added.
    As `torch.optim.Adam`. `lr` is a number or a schedule.

    >>> sorted(owl.optim.Adam().init([owl.ones([2])]))
    ['mean', 'square', 'step']
    """

    slots = ("mean", "square")
    decoupled_decay = 0.0  # of weights, beside the gradient

    def __init__(
        self,
        lr: Schedule | float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay)
        self.betas = self._below_1(betas[0], "betas[0]"), self._below_1(betas[1], "betas[1]")
        self.eps = self._at_least_0(eps, "eps")

    def _numbers(self, rate: float, step: int) -> tuple[float, ...]:
        size = rate / (1 - self.betas[0] ** step)
        return size, math.sqrt(1 - self.betas[1] ** step), 1 - rate * self.decoupled_decay

    def _step(
        self, param: NArray, grad: NArray, mean: NArray, square: NArray, size: float, root: float, keep: float
    ) -> tuple[NArray, ...]:
        first, second = self.betas
        grad = self._decayed(param, grad)
        mean = first * mean + (1 - first) * grad
        square = second * square + (1 - second) * elewise.mult(grad, grad)
        if self.decoupled_decay:
            param = param * keep
        return param - size * (mean / (elewise.sqrt(square) / root + self.eps)), mean, square


class AdamW(Adam):
    """Adam with weight decay beside the gradient (Loshchilov and Hutter, 2019): ``w *= 1 - lr * weight_decay`` first.

    As `torch.optim.AdamW`. `lr` is a number or a schedule.

    >>> owl.optim.AdamW().decoupled_decay
    0.01
    """

    def __init__(
        self,
        lr: Schedule | float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(lr, betas, eps)
        self.decoupled_decay = self._at_least_0(weight_decay, "weight_decay")


class RMSprop(Optimizer):
    """Steps of the size of the gradient over its root mean square (Hinton, 2012).

    ``v = alpha * v + (1 - alpha) * g**2``, ``w -= lr * g / (sqrt(v) + eps)``; with a momentum
    ``b = momentum * b + g / (sqrt(v) + eps)``, ``w -= lr * b``; `g` has ``weight_decay * w`` added. As
    `torch.optim.RMSprop`. `lr` is a number or a schedule.

    >>> owl.optim.RMSprop(0.01).alpha
    0.99
    """

    slots = ("square", "momentum")

    def __init__(
        self,
        lr: Schedule | float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay)
        self.alpha = self._below_1(alpha, "alpha")
        self.eps = self._at_least_0(eps, "eps")
        self.momentum = self._at_least_0(momentum, "momentum")

    def _used(self) -> tuple[str, ...]:
        return self.slots if self.momentum else self.slots[:1]

    def _step(self, param: NArray, grad: NArray, square: NArray, *rest: Any) -> tuple[NArray, ...]:
        rate = rest[-1]
        grad = self._decayed(param, grad)
        square = self.alpha * square + (1 - self.alpha) * elewise.mult(grad, grad)
        step = grad / (elewise.sqrt(square) + self.eps)
        if not self.momentum:
            return param - rate * step, square
        step = self.momentum * rest[0] + step
        return param - rate * step, square, step


class Adagrad(Optimizer):
    """Steps of the size of the gradient over the root of the sum of all squares so far (Duchi and others, 2011).

    ``s += g**2``, ``w -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)`` in step `t`; `g` has ``weight_decay *
    w`` added. As `torch.optim.Adagrad`. `lr` is a number or a schedule.

    >>> owl.optim.Adagrad(0.1, initial=0.5).init([owl.zeros([1])])["square"][0].to_numpy()
    array([0.5], dtype=float32)
    """

    slots = ("square",)

    def __init__(
        self,
        lr: Schedule | float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(lr, weight_decay)
        self.lr_decay = self._at_least_0(lr_decay, "lr_decay")
        self.initial = self._at_least_0(initial, "initial")
        self.eps = self._at_least_0(eps, "eps")

    def _first(self, param: NArray) -> NArray:
        with param.device:
            return _runtime.full(param.shape, self.initial, param.dtype)

    def _numbers(self, rate: float, step: int) -> tuple[float, ...]:
        return (rate / (1 + (step - 1) * self.lr_decay),)

    def _step(self, param: NArray, grad: NArray, square: NArray, rate: float) -> tuple[NArray, ...]:
        grad = self._decayed(param, grad)
        square = square + elewise.mult(grad, grad)
        return param - rate * (grad / (elewise.sqrt(square) + self.eps)), square
