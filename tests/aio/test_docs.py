"""The examples of docs/aio.md run, each in a process of its own, and so do those of owl.aio's docstrings."""

import doctest
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import owl
import owl.aio

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "aio.md").read_text(), re.MULTILINE | re.DOTALL)
PRINTED = [
    "[[3. 3.]\n [3. 3.]\n [3. 3.]]\n",
    "[64, 32] [1, 1]\n6.0\n",
    "[16] [16] True\n",
    "not yet\nTrue\n",
    "7.4\n",
    "True True\n",
    "True\n",
    "9900.0\n",
]


@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_example(number, tmp_path):
    program = tmp_path / "example.py"
    program.write_text(EXAMPLES[number])
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.stderr, done.returncode) == (PRINTED[number], "", 0)


def test_each_example_is_run():
    assert len(EXAMPLES) == len(PRINTED)


@pytest.mark.parametrize("name", ["", *(name for name in owl.aio.__all__ if not name.startswith("Pipeline"))])
def test_docstring(name):
    documented = getattr(owl.aio, name) if name else owl.aio
    text = inspect.getdoc(documented) or ""
    examples = doctest.DocTestParser().get_doctest(text, {"owl": owl, "np": np}, name, None, None)
    said = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=said.append)
    assert said == []
