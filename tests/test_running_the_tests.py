"""The tests themselves: they work in the background of a script, and none of them waits for ever."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIGNALLED = "tests/rules/test_rule8_exit_and_fork.py::test_the_work_goes_on_after_an_interrupted_wait"


def test_interrupts_arrive_where_they_were_ignored_at_the_start():
    command = f"trap '' INT; exec '{sys.executable}' -m pytest -q -p no:cacheprovider {SIGNALLED}"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "1 passed" in done.stdout


def test_a_test_that_never_ends_is_ended(tmp_path):
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent(f"""
            import importlib.util
            spec = importlib.util.spec_from_file_location("owl_conftest", {str(ROOT / "tests" / "conftest.py")!r})
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            module.MOST_SECONDS = 0.2
            pytest_addoption, pytest_configure = module.pytest_addoption, module.pytest_configure
            pytest_runtest_protocol = module.pytest_runtest_protocol
        """)
    )
    (tmp_path / "test_hang.py").write_text("import threading\ndef test_hang():\n    threading.Event().wait()\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(tmp_path)]
    found = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=found, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "in test_hang" in done.stderr
