"""Schedules: functions from the number of a step, counted from 0, to a learning rate."""

import math
from collections.abc import Callable
from typing import TypeAlias

from owl._runtime import OwlTypeError, OwlValueError

Schedule: TypeAlias = Callable[[int], float]


def _positive(value: int, name: str, what: str) -> int:
    if value < 1:
        raise OwlValueError(f"[{what}] {name} is at least 1, not {value}")
    return value


def constant(rate: float) -> Schedule:
    """The same rate at every step.

    >>> owl.optim.constant(0.1)(1000)
    0.1
    """
    return lambda _: rate


def step_decay(rate: float, every: int, factor: float = 0.1) -> Schedule:
    """`rate`, multiplied by `factor` after every `every` steps.

    >>> [round(owl.optim.step_decay(1.0, 2, 0.5)(step), 3) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    _positive(every, "every", "step_decay")
    return lambda step: rate * factor ** (step // every)


def linear(start: float, end: float, steps: int) -> Schedule:
    """From `start` to `end` in `steps` steps of equal size, and `end` from then on.

    >>> [owl.optim.linear(1.0, 0.0, 4)(step) for step in (0, 1, 4, 9)]
    [1.0, 0.75, 0.0, 0.0]
    """
    _positive(steps, "steps", "linear")
    return lambda step: start + (end - start) * min(step, steps) / steps


def cosine(rate: float, steps: int, end: float = 0.0) -> Schedule:
    """From `rate` to `end` along half a period of a cosine in `steps` steps, and `end` from then on.

    ``end + (rate - end) * (1 + cos(pi * step / steps)) / 2`` (Loshchilov and Hutter, SGDR, 2017, without restarts).

    >>> [round(owl.optim.cosine(1.0, 4)(step), 3) for step in (0, 1, 2, 4, 9)]
    [1.0, 0.854, 0.5, 0.0, 0.0]
    """
    _positive(steps, "steps", "cosine")
    return lambda step: end + (rate - end) * (1 + math.cos(math.pi * min(step, steps) / steps)) / 2


def warmup(steps: int, then: Schedule | float, start: float = 0.0) -> Schedule:
    """From `start` in `steps` steps of equal size to the first rate of `then`, which goes on as from its step 0.

    >>> [owl.optim.warmup(2, owl.optim.linear(1.0, 0.0, 2))(step) for step in range(5)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    _positive(steps, "steps", "warmup")
    after = then if callable(then) else constant(then)
    return lambda step: start + (after(0) - start) * step / steps if step < steps else after(step - steps)


def as_schedule(rate: Schedule | float, what: str) -> Schedule:
    """A schedule of a rate that is one already, or a number that is not negative."""
    if callable(rate):
        return rate
    try:
        number = float(rate)
    except (TypeError, ValueError):
        raise OwlTypeError(f"[{what}] the learning rate is a number or a schedule, not {type(rate).__name__}") from None
    if not number >= 0:
        raise OwlValueError(f"[{what}] the learning rate cannot be {rate}")
    return constant(number)
