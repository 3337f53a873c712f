"""After every test nothing may be left: see `tests.support.leaks`."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import hypothesis
import numpy as np
import pytest

import owl
from owl import _runtime
from tests.support import devices as kinds
from tests.support.leaks import nothing_leaks

ROOT = Path(__file__).resolve().parent.parent

# Shared machines pause for long; every failure must come again in the next run.
hypothesis.settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=40,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.register_profile("long", hypothesis.settings.get_profile("default"), max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("OWL_TEST_PROFILE", "default"))


FAILED = pytest.StashKey[bool]()
STDERR = pytest.StashKey[int]()
ABOUT_CPUS = "about CPUs: "
MOST_SECONDS = 600  # of one test, if it does not say that it takes minutes: something hangs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=tuple(kinds.DEVICES), default="cpu", help="what the tests compute on (cpu)")


def pytest_configure(config: pytest.Config) -> None:
    kinds.choose(config.getoption("--device"))
    # Where a script started the tests in the background, SIGINT is ignored, and so it would be in every process that
    # they start. A handler, even one that does nothing, is not inherited.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)
    config.stash[STDERR] = os.dup(2)  # before it is captured


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--device") == "cpu":
        return
    kinds_of_others = ["cpu", "cpu_kernels"] if "gpu" in config.getoption("--device") else ["cpu"]
    for item in items:
        marks = [mark for mark in map(item.get_closest_marker, kinds_of_others) if mark]
        if marks:
            item.add_marker(pytest.mark.skip(reason=f"{ABOUT_CPUS}{marks[0].args[0]}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--device") == "cpu":
        return
    reports = [report for kind in ("passed", "failed", "skipped") for report in terminalreporter.getreports(kind)]
    tests = {report.nodeid for report in reports}
    skipped = {
        report.nodeid
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple) and ABOUT_CPUS in report.longrepr[2]
    }
    terminalreporter.line(
        f"{len(skipped)} of {len(tests)} tests are about CPUs: not run on {config.getoption('--device')}"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Ends the run, and prints where every thread is, if a test never ends."""
    seconds = MOST_SECONDS * (10 if item.get_closest_marker("long") else 1)
    faulthandler.dump_traceback_later(seconds, exit=True, file=item.config.stash[STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # collecting before and after each test then looks at the test's own objects only


@pytest.fixture(scope="session", autouse=True)
def opened_once() -> owl.Device:
    """Opens what stays open for the whole process, so that no test is the one that opens it; the tests' device."""
    device = kinds.new_device()
    owl.set_device(device)
    (owl.ones([1]) + 1).wait_for_eval()  # the executor starts with the first run
    asyncio.new_event_loop().close()
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop

        uvloop.new_event_loop().close()
    resource_tracker.ensure_running()  # the first process that is spawned would start it
    return device


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest, opened_once: owl.Device) -> Iterator[None]:
    owl.seed(20141021)
    owl.set_device(opened_once)  # a test before may have chosen another
    modules = len(sys.modules)
    leaks = nothing_leaks(threads_end_late=request.node.get_closest_marker("leaves_a_thread") is not None)
    leaks.__enter__()
    yield
    _runtime.set_delay(0)
    _runtime.clear_faults()
    problems = kinds.problems()
    assert not problems, problems
    if not request.node.stash.get(FAILED, False):  # the traceback of a failed test holds its arrays
        leaks.__exit__(None, None, None)
        if len(sys.modules) > modules:
            gc.freeze()  # what the test imported stays, and is as much as all that was frozen before


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20141021)


@pytest.fixture(scope="session")
def devices() -> list[owl.Device]:
    """Two devices."""
    return [kinds.new_device(), kinds.new_device()]


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program in a fresh interpreter, with owl importable and variables of the environment set (None: unset)."""

    def run(program: str, *arguments: str, timeout: float = 600, **env: str | None):
        path = tmp_path / "program.py"
        path.write_text(program)
        merged: dict[str, str | None] = {**os.environ, "PYTHONPATH": str(ROOT), **env}
        return subprocess.run(
            [sys.executable, str(path), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            env={name: value for name, value in merged.items() if value is not None},
        )

    return run


@pytest.fixture(autouse=True)
def names_for_doctests(doctest_namespace: dict[str, object]) -> None:
    doctest_namespace.update(owl=owl, np=np)
