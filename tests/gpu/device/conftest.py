"""Programs in processes of their own: a process has one stand-in, configured once."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from owl.testing import _standin

PREAMBLE = """
import os, sys
import pytest
import numpy as np
import owl
import owl.aio
import owl.testing
import owl.elewise as ele

control = owl.testing.standin({arguments})
"""

NEVER_RETRIEVED = "owl: exception was never retrieved: "

# At the end of each program: nothing that it did was out of order.
EPILOGUE = """
problems = control.problems()
assert not problems, problems
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.standin)


@pytest.fixture(scope="session", autouse=True)
def standins_are_built(request: pytest.FixtureRequest) -> None:
    for checked in (False, True):
        _standin.build(checked)


@pytest.fixture
def program(python) -> Callable[..., str]:
    """Runs a program, in parts, on the stand-in, checked unless it says otherwise; its output.

    Its standard error is empty, but where values may fail `unseen` for the lines that tell of these.
    """

    def run(
        *parts: str,
        arguments: str = "checked=True",
        code: int = 0,
        checks: bool = True,
        device: bool = True,
        unseen: bool = False,
        timeout: float = 60,
        **env: str,
    ) -> str:
        before = [PREAMBLE.format(arguments=arguments), "gpu = owl.create_gpu_device(0)\n" if device else ""]
        # Each by itself: a part with less margin would make the rest the body of its last function.
        whole = [*before, *map(textwrap.dedent, parts), EPILOGUE if checks else ""]
        done = python("\n".join(whole), timeout=timeout, **env)
        told = [line for line in done.stderr.splitlines() if not (unseen and line.startswith(NEVER_RETRIEVED))]
        assert (done.returncode, told) == (code, []), done.stderr or done.stdout
        return done.stdout

    return run
