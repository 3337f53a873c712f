"""Ends of programs with work pending: each is a process, quiet, with the right exit code, and soon over."""

import signal
import sys

import pytest

PREAMBLE = """
import asyncio, os, sys
import owl, owl.aio
from owl import _runtime

owl.set_device(owl.create_cpu_device())
(owl.ones([1]) + 1).wait_for_eval()

def loops(kind={kind!r}):
    if kind == "uvloop":
        import uvloop
        return uvloop.new_event_loop()
    return asyncio.new_event_loop()

def run(main):
    return owl.aio.run(main) if {kind!r} == "uvloop" else asyncio.run(main)

def pending(count=5):
    _runtime.set_delay(100_000)
    return [owl.ones([100]) + n for n in range(count)]

def ready():
    print("READY", flush=True)
"""


@pytest.fixture
def program(script, loop_kind):
    def run_program(body, **options):
        import textwrap

        out, err = script(PREAMBLE.format(kind=loop_kind) + textwrap.dedent(body), **options)
        assert err == ""
        return out

    return run_program


def test_the_program_ends_with_work_pending(program):
    program("""
        async def main():
            for x in pending(): x.eval()
            ready()
        run(main())
    """)


def test_the_program_ends_while_a_task_awaits(program):
    program("""
        async def main():
            xs = pending()
            task = asyncio.create_task(owl.aio.to_numpy(xs[-1]))
            await asyncio.sleep(0.01)
            ready()
        run(main())
    """)


def test_the_program_exits_from_within_the_loop(program):
    program(
        """
        async def main():
            xs = [x.eval() for x in pending()]
            ready()
            sys.exit(3)
        run(main())
    """,
        expect=3,
    )


def test_a_loop_is_closed_with_work_pending(program):
    out = program("""
        loop = loops()
        xs = pending()
        async def main():
            evaluations = [x.eval() for x in xs]
            evaluations[0].add_done_callback(print)
            return evaluations
        held = loop.run_until_complete(main())
        loop.close()
        ready()
        print(float(xs[0].max()))
        async def again():
            return float((await owl.aio.to_numpy(xs[1]))[0])
        print(run(again()))
    """)
    assert out == "1.0\n2.0\n"


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="POSIX signals")
def test_control_c_with_work_pending(program):
    out = program(
        """
        async def main():
            xs = pending(20)
            ready()
            try:
                await owl.aio.gather(*xs)
            except asyncio.CancelledError:
                print("cancelled", flush=True)
                raise
        try:
            run(main())
        except KeyboardInterrupt:
            print("interrupted")
            sys.exit(130)
    """,
        interrupt=True,
        expect=130,
    )
    assert out.endswith("interrupted\n")


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="POSIX signals")
def test_control_c_while_recording_waits_for_room(program):
    """Signals are handled meanwhile: the first Ctrl-C cancels the task, as asyncio has it."""
    out = program(
        """
        import warnings
        warnings.simplefilter("ignore", RuntimeWarning)
        _runtime.set_bounds(nodes=1, runs=1)
        _runtime.set_delay(20_000)
        async def main():
            x = owl.ones([1])
            for n in range(200):
                if n == 150:  # far beyond the bound: each operation waits for room by now
                    ready()
                x = x + 1
        try:
            run(main())
            print("finished")
        except KeyboardInterrupt:
            print("interrupted")
            sys.exit(130)
    """,
        interrupt=True,
        expect=130,
    )
    assert out.endswith("interrupted\n")


def test_a_fork_with_work_pending(program):
    out = program("""
        done = owl.ones([4]) + 1
        async def main():
            await done
            xs = pending(3)
            waiting = [asyncio.ensure_future(owl.aio.to_numpy(x)) for x in xs]
            await asyncio.sleep(0.01)
            ready()
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    _runtime.set_delay(0)
                    assert float((done * 2).max()) == 4.0
                    try:
                        xs[-1].to_numpy()
                    except owl.ExecutionError as error:
                        assert error.kind == "forked"
                    else:
                        raise AssertionError("a pending value was had in the child")
                    def fresh():
                        loop = loops()
                        result = loop.run_until_complete(in_child())
                        loop.close()
                        return result
                    async def in_child():
                        return float((await owl.aio.to_numpy(done * 3))[0])
                    asyncio._set_running_loop(None)
                    assert fresh() == 6.0
                    code = 0
                finally:
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status))
            print([float(x[0]) for x in await asyncio.gather(*waiting)])
        run(main())
    """)
    assert out == "0\n[1.0, 2.0, 3.0]\n"


def test_the_same_with_asyncios_debug_mode(program):
    program(
        """
        async def main():
            xs = pending(2)
            ready()
            await xs[0]
            asyncio.create_task(owl.aio.to_numpy(xs[1]))
        run(main())
    """,
        environment={"PYTHONASYNCIODEBUG": "1"},
    )
