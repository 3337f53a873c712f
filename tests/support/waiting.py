"""Waiting for what happens on other threads, and for the end of all native work."""

import gc
import os
import time
from pathlib import Path

import owl
import owl.testing


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.001)


def settle():
    """Computes what was recorded and waits until nothing runs any more."""
    gc.collect()
    owl.wait_for_all()
    until(lambda: owl.testing.counters()["runs"] == 0)


def resident():
    """Bytes of memory that this process occupies now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
