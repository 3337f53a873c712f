"""Checks one random program after another, and makes the first that fails small."""

from __future__ import annotations

import faulthandler
import gc
import time
import traceback
from collections.abc import Callable
from random import Random

from owl.testing.fuzz.check import check, check_specialized
from owl.testing.fuzz.memory import check_memory
from owl.testing.fuzz.program import Program, lone_program, random_program
from owl.testing.fuzz.shrink import shrink

BATCH = 200  # programs between two collections of all garbage there is
REPEATS = 20  # how often a program is run that failed once: some fail by chance of timing
KINDS: dict[str, tuple[Callable[[Random], Program], Callable[[Program, int], None]]] = {
    "settings": (random_program, check),
    "memory": (lone_program, check_memory),
    "specialized": (random_program, check_specialized),
}
PATIENCE = 300.0  # seconds without an end of a program after which all threads' tracebacks are printed


class ProgramError(AssertionError):
    """A program failed; says which, and what is left of it."""


def written(seed: int, number: int, kind: str = "settings") -> tuple[Program, int]:
    """A seed's program of a number, and which fault and limit it is to meet."""
    random = Random(f"{seed}/{number}")
    return KINDS[kind][0](random), random.randrange(256)


def failure_of(program: Program, fault: int, repeats: int = 1, kind: str = "settings") -> Exception | None:
    try:
        for _ in range(repeats):
            KINDS[kind][1](program, fault)
    except Exception as error:
        return error
    return None


def _headline(error: BaseException) -> str:
    """By this two failures are the same: a smaller program must not fail of something else."""
    return f"{type(error).__name__}: {str(error).strip().partition(':')[0]}"


def minimised(
    program: Program, fault: int, error: Exception, kind: str = "settings", seconds: float = 120.0
) -> tuple[Program, Exception]:
    """The smallest program that fails in the same way, and how it did."""
    headline = _headline(error)
    until = time.monotonic() + seconds
    last = failure_of(program, fault, REPEATS, kind)
    if last is None:
        return program, error
    # What fails by chance gets more chances.
    repeats = 1 if all(failure_of(program, fault, kind=kind) for _ in range(3)) else REPEATS

    def fails(candidate: Program) -> bool:
        nonlocal last
        found = failure_of(candidate, fault, repeats, kind) if time.monotonic() < until else None
        if found is None or _headline(found) != headline:
            return False
        last = found
        return True

    return shrink(program, fails), last


def replay(seed: int, number: int, kind: str = "settings") -> None:
    """Checks one program; raises `ProgramError`, with the smallest program that fails in the same way."""
    program, fault = written(seed, number, kind)
    try:
        KINDS[kind][1](program, fault)
    except Exception as error:
        small, last = minimised(program, fault, error, kind)
        lines = "\n".join(map(str, small))
        told = "".join(traceback.format_exception(last, chain=False))
        raise ProgramError(
            f"program {number} of seed {seed} fails, with fault {fault}; made small it is\n{lines}\n\n{told}"
        ) from None


def run(
    programs: int,
    seed: int,
    seconds: float,
    first: int = 0,
    told: Callable[[int], object] = bool,
    kind: str = "settings",
) -> int:
    """Checks programs until so many have passed or the time is over; returns how many did. Raises at a failure.

    `first` is the number of the first program; `told` is called with the number of each before it runs. `kind`:
    "settings" of the planner, "memory", which runs out, or "specialized" kernels of a GPU.
    """
    end = time.monotonic() + seconds
    passed = 0
    armed = 0.0
    frozen_before = gc.get_freeze_count() > 0
    try:
        while passed < programs and time.monotonic() < end:
            # Programs collect garbage a dozen times, and look only at what they made themselves.
            if passed % BATCH == 0:
                gc.unfreeze()
                gc.collect()
            gc.freeze()
            if time.monotonic() - armed > PATIENCE / 10:
                armed = time.monotonic()
                faulthandler.dump_traceback_later(PATIENCE, exit=True)
            told(first + passed)
            replay(seed, first + passed, kind)
            passed += 1
    finally:
        faulthandler.cancel_dump_traceback_later()
        gc.unfreeze()
        if frozen_before:  # so the caller had it
            gc.collect()
            gc.freeze()
    return passed
