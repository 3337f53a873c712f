"""Makes a program that fails smaller while it still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from owl.testing.fuzz.program import Program


def smaller(program: Program) -> Iterator[Program]:
    """Programs with a little less in them, those with the most taken away first."""
    size = len(program)
    while size:
        for start in range(0, len(program), size):
            yield program[:start] + program[start + size :]
        size //= 2
    for i, statement in enumerate(program):
        before, after = program[:i], program[i + 1 :]
        if statement.body:
            yield before + statement.body + after
            for body in smaller(statement.body):
                if body:
                    yield (*before, replace(statement, body=body), *after)
        for name in ("a", "b", "c"):
            number = getattr(statement, name)
            # All of them: which array a number picks depends on how many there are.
            for less in range(number):
                change: dict[str, Any] = {name: less}
                yield (*before, replace(statement, **change), *after)


def shrink(program: Program, fails: Callable[[Program], bool], tries: int = 20000) -> Program:
    """The smallest failing program that taking away step by step leads to, within so many calls of `fails`."""
    found = True
    while found:
        found = False
        for candidate in smaller(program):
            if tries == 0:
                return program
            tries -= 1
            if fails(candidate):
                program, found = candidate, True
                break
    return program
