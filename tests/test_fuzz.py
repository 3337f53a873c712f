"""The fuzzer: its programs agree, are the same for the same seed, and one that fails is made small."""

import gc
import sys
from random import Random

import hypothesis
import pytest

import owl
from owl.testing import fuzz
from owl.testing.fuzz.program import Statement
from owl.testing.fuzz.shrink import shrink
from owl.testing.fuzz.worlds import OwlWorld

check = sys.modules["owl.testing.fuzz.check"]  # the package's own `check` is the function


def test_random_programs_agree_under_all_settings():
    assert fuzz.run(programs=25, seed=7, seconds=60) > 0


@pytest.mark.cpu("the host's memory is what is short")
def test_programs_lose_nothing_that_there_is_memory_for():
    assert fuzz.run(programs=20, seed=7, seconds=60, kind="memory") > 0


@pytest.mark.cpu("the host's memory is what is short")
@pytest.mark.long
def test_many_programs_lose_nothing_that_there_is_memory_for():
    assert fuzz.run(programs=600, seed=8, seconds=120, kind="memory") > 0


@hypothesis.settings(max_examples=8)
@hypothesis.given(fuzz.programs())
def test_programs_are_drawn_by_hypothesis_too(program):
    gc.freeze()  # a program collects garbage two dozen times, and hypothesis has much that is none
    fuzz.check(program)


@pytest.mark.parametrize("frozen", [True, False])
def test_what_its_caller_has_frozen_stays_frozen(frozen):
    count = gc.get_freeze_count()
    try:
        (gc.freeze if frozen else gc.unfreeze)()
        fuzz.run(programs=1, seed=5, seconds=60)
        assert (gc.get_freeze_count() > 0) is frozen
    finally:
        if count:
            gc.freeze()


def test_the_same_seed_writes_the_same_programs():
    assert fuzz.random_program(Random(3)) == fuzz.random_program(Random(3))
    assert fuzz.random_program(Random(3)) != fuzz.random_program(Random(4))


def test_a_failing_program_is_made_small():
    program = fuzz.random_program(Random(5)) * 3 + (Statement("loop", 9, 9, 9, (Statement("unary", 7, 8, 9),)),)
    left = shrink(program, lambda candidate: any("unary(7" in str(line) for line in candidate))
    assert left == (Statement("unary", 7),)


def test_a_wrong_operation_is_found_and_told_with_a_small_program(monkeypatch):
    def wrong(self, arrays, axis):
        return owl.concat([*arrays[:-1], arrays[-1] * 1.5], axis)

    monkeypatch.setattr(OwlWorld, "concat", wrong)
    monkeypatch.setattr(check, "SETTINGS", {})  # it is wrong under every one, and most of what is tried passes all
    with pytest.raises(fuzz.ProgramError, match="against NumPy") as raised:
        fuzz.run(programs=1000, seed=1, seconds=60)
    told = str(raised.value).split("made small it is\n")[1].split("\n\n")[0]
    assert "concat" in told
    assert len(told.splitlines()) <= 4
