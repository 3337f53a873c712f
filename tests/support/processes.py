"""Programs in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Since 3.12 Python warns of any fork beside threads, and owl has some; that it works is what tests of forks are about.
FORK_WARNING = "ignore:This process:DeprecationWarning"


def environment(**extra):
    merged = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": FORK_WARNING, **extra}
    return {name: value for name, value in merged.items() if value is not None}


def run(program, timeout=60, **env):
    """Runs a program in a fresh interpreter; it must end by itself."""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=timeout, env=environment(**env)
    )


def interrupt(program, timeout=60, **env):
    """Runs a program, sends it SIGINT when it prints a line, and returns how it ended, and what it wrote."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**env),
    )
    with process:
        try:
            process.stdout.readline()
            time.sleep(0.1)  # it goes from printing to waiting
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return process.returncode, out, err
