"""What README promises: its Python examples run, its commands are single lines, and `.ci/run` runs the second."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_examples_run(number, python):
    done = python(blocks("python")[number])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_classic_script_shows_learning(python):
    right = [int(count) for count in re.findall(r"step \d+: (\d+) of 256 right", python(blocks("python")[0]).stdout)]
    assert len(right) == 4
    assert right == sorted(right)
    assert right[-1] > 3 * right[0]


def test_there_are_examples_and_two_commands():
    assert blocks("python")
    commands = [block.strip() for block in blocks("sh") if "venv" in block]
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)
    assert commands[0].endswith("-m owl.apps.mnist")
    assert "pytest" in commands[1]


def test_ci_runs_the_second_command_word_for_word():
    # The line that .ci/run itself uses to find it.
    script = (ROOT / ".ci" / "run").read_text()
    finder = re.search(r"^command=\$\((.*)\)$", script, re.MULTILINE)[1].replace("$root", str(ROOT))
    found = subprocess.run(
        ["bash", "-c", finder], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()
    assert found == [block.strip() for block in blocks("sh") if "venv" in block][1]
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], timeout=60).returncode == 0


def test_switches_that_readme_names_are_read_by_the_code():
    text = (
        "".join(
            path.read_text()
            for folder in ("owl", "apps")
            for path in (ROOT / folder).rglob("*")
            if path.suffix in (".py", ".pyx", ".pxi", ".cpp", ".h") and path.name != "_runtime.cpp"
        )
        + (ROOT / "setup.py").read_text()
    )
    for name in re.findall(r"^\| `(OWL_\w+)", README, re.MULTILINE):
        assert name in text
