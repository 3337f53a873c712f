"""Writes random programs and runs each under every setting of the planner: all must agree in every bit.

``python -m owl.testing.fuzz --programs 20000 --seed 1 --seconds 600``. A program has loops, branches, demands, awaits,
handles that die late (kept in lists, in reference cycles and in tracebacks) or in other threads, updates in place,
random draws, errors halfway, devices, threads and asyncio tasks; its arrays have up to 5 dimensions and both dtypes.
Values are also held against NumPy in float64. Injected faults and memory limits may take values away but never change
one. A program that fails is made as small as possible and printed; the same seed writes the same programs, and with
``--first`` one of them alone is run again.
"""

from owl.testing.fuzz.check import check
from owl.testing.fuzz.program import Statement, programs, random_program
from owl.testing.fuzz.run import ProgramError, replay, run

__all__ = ["ProgramError", "Statement", "check", "programs", "random_program", "replay", "run"]
