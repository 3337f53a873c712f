"""Checks of numbers that users of owl.aio pass in."""

from __future__ import annotations

import math
import operator
from typing import Any

from owl import DTypeError, OwlValueError


def whole_number(value: Any, least: int, name: str, what: str) -> int:
    """`value` as an int; raises `DTypeError` (a TypeError) or `OwlValueError` (a ValueError) that name it."""
    try:
        number = operator.index(value)
    except TypeError:
        raise DTypeError(f"[{what}] {name} is a whole number, not {value!r}") from None
    if number < least:
        raise OwlValueError(f"[{what}] {name} is at least {least}, not {number}")
    return number


def seconds(value: Any, name: str, what: str, *, positive: bool = False) -> float:
    """`value` as a finite float that is not negative, or is `positive`; raises as `whole_number` does."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise DTypeError(f"[{what}] {name} is a number of seconds, not {value!r}") from None
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        raise OwlValueError(
            f"[{what}] {name} is a {'positive' if positive else 'finite'} number of seconds, not {value!r}"
        )
    return number
