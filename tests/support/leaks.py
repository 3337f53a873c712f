"""The one check after every test: nothing native, no thread, no process and no descriptor is left."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import owl.testing

SECONDS = 5.0  # that a thread under way has to end
STAY = ("TMonitor", "_DummyThread")  # tqdm keeps one; Python keeps an entry of a thread that `_thread` started
STAYS = "owl-specialize"  # as long as the GPU devices, which live as long as the process


def open_descriptors() -> int:
    """How many descriptors this process has; 0 where the system has no /proc."""
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.is_dir() else 0


def owl_threads() -> list[threading.Thread]:
    """The threads of Python that owl started."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("owl") and thread.name != STAYS]


def count() -> dict[str, int]:
    """All that may not grow, by name."""
    native = owl.testing.settle()
    owl.testing.specialized_kernels(wait=True)  # a compiler under way has descriptors
    return {
        **{name: native[name] for name in ("nodes", "buffers", "runs", "bytes")},
        "threads": sum(type(thread).__name__ not in STAY and thread.name != STAYS for thread in threading.enumerate()),
        "processes": len(multiprocessing.active_children()),
        "descriptors": open_descriptors(),
    }


@contextlib.contextmanager
def nothing_leaks(*, threads_end_late: bool = False) -> Iterator[None]:
    """Asserts that the block left nothing, once the work under way has had its time to end.

    A thread that owl started has ended with the call that ends its pipeline, unless `threads_end_late`. An exception
    of the block passes through: its traceback holds arrays.
    """
    before, threads = count(), owl_threads()
    yield
    if not threads_end_late:
        left = [thread for thread in owl_threads() if thread not in threads]
        assert not left, f"threads are left: {left}"
    until = time.monotonic() + SECONDS
    while (grown := _grown(before)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not grown, f"the test leaks (before, after): {grown}"


def _grown(before: dict[str, int]) -> dict[str, tuple[int, int]]:
    return {name: (before[name], now) for name, now in count().items() if now > before[name]}
