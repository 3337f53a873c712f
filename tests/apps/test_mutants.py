"""Damaged files are refused, or read whole; they never crash the process (see ``mutants``)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("safetensors")
ROOT = Path(__file__).resolve().parents[2]


def run(kind: str, count: int, seed: int) -> None:
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.apps.mutants", kind]
    finished = subprocess.run(
        [*command, "--count", str(count), "--seed", str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120 + count / 10,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    found = re.search(r"refused (\d+), read (\d+)", finished.stdout)
    assert found is not None
    assert int(found[1]) > count // 2


@pytest.mark.parametrize("kind", ["mat", "idx", "safetensors"])
def test_damaged_files_are_refused_or_read(kind: str) -> None:
    run(kind, 500, 3)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["mat", "idx", "safetensors"])
def test_many_damaged_files_are_refused_or_read(kind: str) -> None:
    run(kind, 20_000, 4)
