"""Every test here runs on asyncio's own loop and on uvloop."""

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from owl import _runtime
from tests.support.processes import FORK_WARNING

ROOT = Path(__file__).resolve().parents[2]
HAS_UVLOOP = importlib.util.find_spec("uvloop") is not None


def new_loop(kind):
    if kind == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def run_bare(kind, coroutine):
    """Runs a coroutine in a new loop, in any thread, and leaves asyncio's own settings alone."""
    loop = new_loop(kind)
    try:
        result = loop.run_until_complete(coroutine)
        loop.run_until_complete(loop.shutdown_asyncgens())
        return result
    finally:
        loop.close()


needs_uvloop = pytest.mark.skipif(not HAS_UVLOOP, reason="uvloop is not installed")


@pytest.fixture(params=["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
def loop_kind(request):
    return request.param


@pytest.fixture
def run(loop_kind):
    """Runs a coroutine function in a new loop, as asyncio.run does; fails if it takes a minute."""

    def run_in_new_loop(main, *arguments, debug=None, timeout=60):
        loop = new_loop(loop_kind)
        try:
            if debug is not None:
                loop.set_debug(debug)
            asyncio.set_event_loop(loop)
            return loop.run_until_complete(asyncio.wait_for(main(*arguments), timeout))
        finally:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            asyncio.set_event_loop(None)
            loop.close()
            assert not tasks, f"left over: {tasks}"

    return run_in_new_loop


@pytest.fixture
def slow():
    """Every kernel takes 20 ms: what is awaited is still pending."""
    _runtime.set_delay(20_000)
    yield
    _runtime.set_delay(0)


@pytest.fixture
def script():
    """Runs Python source in a process of its own and returns it, finished: within 5 s of having said READY."""

    def run_script(source, *, environment=None, interrupt=False, expect=0):
        path = os.pathsep.join([str(ROOT), *sys.path])
        # asyncio's debug mode would tell on stderr of every callback that takes long.
        variables = {
            "PYTHONPATH": path,
            "PYTHONASYNCIODEBUG": "",
            "PYTHONWARNINGS": FORK_WARNING,
            **(environment or {}),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(source)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=ROOT,
            env={**os.environ, **variables},
        )
        try:
            line = process.stdout.readline()
            assert line == b"READY\n", (line, process.stderr.read())
            if interrupt:
                process.send_signal(signal.SIGINT)
            out, err = (text.decode() for text in process.communicate(timeout=60))
        finally:
            process.kill()
            process.wait(60)
        assert process.returncode == expect, (out, err)
        return out, err

    return run_script
