"""What the options of all programs have in common: their types, and one line for whatever is wrong."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

import owl
from owl.apps.mnist import INTERRUPTED

WRONG_INPUT = 2  # the exit code of argparse
BROKEN_PIPE = 1


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"{self.prog}: error: {message}\n")


def at_least(smallest: int) -> Callable[[str], int]:
    """A type for argparse: an integer not below ``smallest``."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = smallest - 1
        if value < smallest:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least {smallest}")
        return value

    return parse


def positive(text: str) -> float:
    """A type for argparse: a finite number above zero."""
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def not_negative(text: str) -> float:
    """A type for argparse: a finite number that is zero or above."""
    value = _number(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


@contextlib.contextmanager
def one_line_errors(program: str) -> Iterator[None]:
    """Ends the process with one line and an exit code for what a user can do wrong, and for Ctrl-C.

    That is whatever owl and its programs refuse: a file, a device, a number of threads.
    """
    try:
        yield
    except owl.OwlError as error:
        sys.exit(_say(f"{program}: error: {error}"))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        leave_quietly()
        sys.exit(BROKEN_PIPE)


def leave_quietly() -> None:
    """The reader of stdout has gone, as ``head`` does: keeps Python from failing once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str) -> int:
    print(message, file=sys.stderr)
    return WRONG_INPUT
