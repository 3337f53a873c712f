"""Builds and loads the module that drives parts of the engine below Python's API."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def native():
    """The module, of the same kind of build as the environment asks of setup.py; nothing is compiled twice."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_native_tests"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    path = done.stdout.splitlines()[-1]
    spec = importlib.util.spec_from_file_location("native", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def nothing_is_left_in_the_native_engine(native):
    before = native.counters()
    yield
    assert native.counters() == before
