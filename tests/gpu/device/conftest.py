"""Programs in processes of their own: a process has one stand-in, configured once."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from owl.testing import _standin

PREAMBLE = """
import os, sys
import numpy as np
import owl
import owl.aio
import owl.testing
import owl.elewise as ele

control = owl.testing.standin({arguments})
"""

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
    """Runs a program on the stand-in, checked unless it says otherwise; what it prints. Its standard error is empty."""

    def run(
        text: str,
        arguments: str = "checked=True",
        *,
        code: int = 0,
        checks: bool = True,
        device: bool = True,
        timeout: float = 60,
        **env: str,
    ) -> str:
        parts = [PREAMBLE.format(arguments=arguments), "gpu = owl.create_gpu_device(0)\n" if device else ""]
        whole = "".join([*parts, textwrap.dedent(text), EPILOGUE if checks else ""])
        done = python(whole, timeout=timeout, **env)
        assert (done.returncode, done.stderr) == (code, ""), done.stderr or done.stdout
        return done.stdout

    return functools.partial(run)
