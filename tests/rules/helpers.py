"""What the tests of the rules share: switches that are set back, waiting for an end of all native work, processes."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import owl
from owl import _runtime

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def bounds(**values):
    was = _runtime.set_bounds(**values)
    try:
        yield
    finally:
        _runtime.set_bounds(**was)


@contextlib.contextmanager
def delay(microseconds):
    """Every kernel starts this much later."""
    _runtime.set_delay(microseconds)
    try:
        yield
    finally:
        _runtime.set_delay(0)


@contextlib.contextmanager
def fault(operation, kind="injected", skip=0, count=1):
    _runtime.inject_fault(operation, kind, skip, count)
    try:
        yield
    finally:
        _runtime.clear_faults()


@contextlib.contextmanager
def memory_limit(extra):
    """Refuses memory beyond what is in use now and so many bytes more."""
    settle()
    _runtime.set_memory_limit(_runtime.debug_counters()["bytes"] + extra)
    try:
        yield
    finally:
        _runtime.set_memory_limit(None)


def settle():
    """Waits until nothing runs any more."""
    gc.collect()
    owl.wait_for_all()
    until(lambda: _runtime.debug_counters()["runs"] == 0)


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.001)


def resident():
    """Bytes of memory that this process occupies now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


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
