"""After every test nothing of a pipeline may be left: no thread, no task, no process, no descriptor."""

import multiprocessing
import threading
import time
from pathlib import Path

import pytest


def open_descriptors():
    descriptors = Path("/proc/self/fd")
    return [entry.name for entry in descriptors.iterdir()] if descriptors.is_dir() else []


def owl_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("owl")]


@pytest.fixture(autouse=True)
def nothing_left_behind(request):
    if request.node.get_closest_marker("processes"):
        # The first spawn in an interpreter starts the resource tracker of the standard library, which stays.
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()
    before = len(open_descriptors())
    yield
    if request.node.get_closest_marker("leaves_a_thread"):
        until = time.monotonic() + 5
        while owl_threads() and time.monotonic() < until:
            time.sleep(0.01)
    assert owl_threads() == []
    assert multiprocessing.active_children() == []
    assert len(open_descriptors()) <= before


def pytest_configure(config):
    config.addinivalue_line("markers", "processes: the test spawns worker processes")
    config.addinivalue_line("markers", "leaves_a_thread: a function of the test outlives its pipeline for a while")
