"""Programs: what a statement is, and how random ones are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


@dataclass(frozen=True)
class Statement:
    """One line of a program. Numbers choose among the arrays that exist when it is reached."""

    kind: str
    a: int = 0
    b: int = 0
    c: int = 0
    body: tuple[Statement, ...] = ()

    def __str__(self) -> str:
        inner = "".join("\n" + str(line) for line in self.body).replace("\n", "\n    ")
        return f"{self.kind}({self.a}, {self.b}, {self.c}){':' if self.body else ''}{inner}"


Program = tuple[Statement, ...]

# A kind that stands here twice is drawn twice as often.
BASIC = ("leaf", "leaf", "unary", "unary", "binary", "binary", "binary", "number", "reduce", "slice", "concat",
         "update", "update", "name", "look", "start")  # fmt: skip
RARE = ("peek", "ternary", "gradient", "item", "arrange", "many", "net", "draw", "recall", "await", "error")
DROPS = ("drop", "keep", "cycle")
SIMPLE = (*BASIC, *BASIC, *DROPS, *DROPS, *RARE, "stash")
LINES = (*SIMPLE, *SIMPLE, *4 * ("borrow", "device", "collect"), *2 * ("promise", "wait"), "chain", "team")
# Strands share the arrays, so what is common stays; and what they keep would come in any order.
QUIET = (*4 * BASIC, *2 * RARE, *4 * ("await",), *2 * ("drop", "cycle", "collect"), "chain", "wait")
BLOCKS = {"loop": LINES, "branch": LINES, "threads": QUIET, "tasks": QUIET}
# Of one thread on one device.
ALONE = (*SIMPLE, *SIMPLE, *2 * ("borrow", "collect", "wait"), "chain")


def _number(random: Random) -> int:
    return random.randrange(32)


def _statement(random: Random, kinds: Sequence[str], body: Program = ()) -> Statement:
    return Statement(random.choice(kinds), _number(random), _number(random), _number(random), body)


def _several(random: Random, least: int, most: int, one: Callable[[], Statement]) -> Program:
    """Short lists more often than long ones: what fails after few statements then has little beside it."""
    most = random.choice((most, most, most // 2))
    return tuple(one() for _ in range(random.randint(least, most)))


def _block(random: Random, kind: str) -> Statement:
    lines = BLOCKS[kind]
    return _statement(
        random, [kind], _several(random, 1, 12 if lines is LINES else 6, lambda: _statement(random, lines))
    )


def random_program(random: Random) -> Program:
    """Any program; every choice is taken from `random`."""

    def one() -> Statement:
        which = random.randrange(2 + len(BLOCKS))
        if which < 2:
            return _statement(random, LINES if which == 0 else SIMPLE)
        return _block(random, tuple(BLOCKS)[which - 2])

    return _several(random, 2, 14, one)


def lone_program(random: Random) -> Program:
    """A program of one thread on one device, and of larger blocks than others: what memory it needs can be counted."""

    def one() -> Statement:
        if random.randrange(3):
            return _statement(random, ALONE)
        body = _several(random, 1, 12, lambda: _statement(random, ALONE))
        return _statement(random, ("loop", "branch"), body)

    return _several(random, 4, 24, one)


def programs() -> SearchStrategy[Program]:
    """The same programs as a strategy of hypothesis, for tests that are written with it."""
    from hypothesis import strategies

    return strategies.builds(random_program, strategies.randoms(use_true_random=False))
