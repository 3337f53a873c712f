"""Exit, Ctrl-C, a forked child: nothing hangs, crashes or prints noise."""

import os
import sys
import textwrap

import pytest

from tests.support.processes import interrupt, run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX processes")
PREAMBLE = "import os, sys, time, threading, numpy as np, owl\nfrom owl import _runtime\n"


def program(text):
    return PREAMBLE + textwrap.dedent(text)


def clean(text, timeout=30, **env):
    """Runs a program that must end by itself, well and silently; returns what it printed."""
    done = run(program(text), timeout=timeout, **env)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-3000:]
    return done.stdout


# ------------------------------------------------------------------------------------------------------------ exit

CLASSIC = """
    begun = time.monotonic()
    w = owl.randn([256, 256], 0.0, 0.01)
    x = owl.randn([256, 256], 0.0, 1.0)
    for _ in range(300):
        w -= 0.01 * (w * x)
        w.start_eval()
    print(time.monotonic() - begun)
"""


def test_a_script_that_forgets_wait_for_all_exits_cleanly():
    assert clean(CLASSIC)


def test_pending_work_is_dropped_at_exit_and_soon():
    out = clean(
        """
        _runtime.set_delay(10_000)
        xs = [owl.ones([64, 64])]
        for k in range(6):
            xs.append(xs[-1] * xs[-1])
            for _ in range(30):
                xs.append(owl.elewise.tanh(xs[-1]).trans() * xs[-1])
            xs[-1].start_eval() if k < 2 else None
        print("exit", flush=True)
        """,
        timeout=60,
    )
    assert out == "exit\n"


def test_exit_does_not_wait_for_a_queue_of_work():
    # Once, what was still queued kept the exit waiting for as long as it would wait at all.
    late = """
import atexit
xs = []
atexit.register(lambda: print(sum(x.state == "done" for x in xs) < 20))  # comes last, for it is the first here
"""
    done = run(
        late
        + program(
            """
            _runtime.set_delay(100_000)
            _runtime.set_bounds(runs=50)
            x = owl.ones([64, 64])
            for _ in range(20):
                x = owl.elewise.tanh(x)
                x.start_eval()
                xs.append(x)
            """
        ),
        timeout=60,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


def test_a_demand_after_owls_own_exit_handler_does_not_hang():
    # Once, the executor had ended, and whoever asked it for a value waited for ever.
    out = run(
        "import atexit\n"
        "def late():\n"
        "    import owl\n"
        "    try:\n"
        "        print((owl.ones([2]) + 1).to_numpy())\n"
        "    except owl.ExecutionError as error:\n"
        "        print('dropped', error.kind)\n"
        "atexit.register(late)\n"
        "import owl\n"
        "owl.ones([2]).to_numpy()\n",
        timeout=30,
    )
    assert (out.returncode, out.stderr) == (0, "")
    assert "dropped" in out.stdout


def test_sys_exit_in_the_middle():
    done = run(
        program("""
        x = owl.randn([256, 256])
        for _ in range(100):
            x = x * x / 256
            x.start_eval()
        sys.exit(3)
        """)
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_an_exception_in_the_middle_prints_itself_alone():
    done = run(program("x = owl.randn([256, 256])\n(x * x).start_eval()\nraise SystemError('mine')"))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "SystemError: mine"
    assert "owl:" not in done.stderr


@pytest.mark.parametrize("drop", ["", "del x, y"])
def test_an_exception_that_was_never_retrieved_prints_one_line(drop):
    done = run(
        program("""
        _runtime.inject_fault("exp")
        x = owl.elewise.exp(owl.ones([4]))
        y = [x + k for k in range(3)]
        owl.wait_for_all()
        """)
        + drop
    )
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "exp" in done.stderr


def test_a_failure_that_was_caught_prints_nothing():
    assert (
        clean("""
        _runtime.inject_fault("exp")
        x = owl.elewise.exp(owl.ones([4]))
        try:
            x.to_numpy()
        except owl.ExecutionError:
            print("caught")
        """)
        == "caught\n"
    )


def test_daemon_threads_that_record_while_the_program_ends():
    for _ in range(3):
        clean(
            """
            def record():
                x = owl.ones([64, 64])
                while True:
                    x = owl.elewise.tanh(x * x)
                    x.start_eval()
                    if float(x.sum()) < -1e9:
                        return
            for _ in range(4):
                threading.Thread(target=record, daemon=True).start()
            time.sleep(0.1)
            """
        )


def test_an_outstanding_promise_does_not_hold_up_the_exit():
    clean("p = _runtime.promise([2])\ny = p.array + 1\ny.start_eval()")


# ---------------------------------------------------------------------------------------------------------- Ctrl-C

# In the time that one of these takes, a test that waits for it has been given up.
SLOW = (
    "_runtime.set_delay(600_000_000)\nx = owl.ones([8])\nfor _ in range(20):\n    x = owl.elewise.tanh(x).sum(0) + x\n"
)
WAITS = {
    "wait_for_all": SLOW + "print('go', flush=True)\nowl.wait_for_all()",
    "to_numpy": SLOW + "print('go', flush=True)\nx.to_numpy()",
    "promise": "p = _runtime.promise([2])\ny = p.array + 1\nprint('go', flush=True)\nowl.wait_for_all()",
    "back-pressure": "_runtime.set_bounds(runs=0)\n_runtime.set_delay(600_000_000)\nx = owl.ones([8]) + 1\n"
    "print('go', flush=True)\nx.start_eval()",
}


@pytest.mark.parametrize("name", WAITS)
def test_an_interrupt_ends_a_wait_at_once(name):
    text = textwrap.indent(WAITS[name], "    ")
    code = (
        PREAMBLE
        + "try:\n"
        + text
        + "\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\n    os._exit(0)\n"
    )
    assert interrupt(code) == (0, "interrupted\n", "")


def test_an_interrupted_program_exits():
    returncode, _, err = interrupt(program(WAITS["wait_for_all"]))
    assert returncode != 0
    assert err.strip().splitlines()[-1] == "KeyboardInterrupt"


def test_the_work_goes_on_after_an_interrupted_wait():
    code = PREAMBLE + textwrap.dedent("""
        p = _runtime.promise([2])
        y = p.array + 1
        try:
            print('go', flush=True)
            y.to_numpy()
        except KeyboardInterrupt:
            p.fulfil(np.ones(2))
            print(y.to_numpy().tolist())
        """)
    assert interrupt(code) == (0, "[2.0, 2.0]\n", "")


# ------------------------------------------------------------------------------------------------------------ fork

CHILD = """
    finished = owl.randn([64, 64])
    expected = finished.to_numpy()
    recorded = finished + 1
    {before}
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            assert (finished.to_numpy() == expected).all()
            assert np.allclose((finished * finished + 1).to_numpy(), expected @ expected + 1, atol=1e-3)
            try:
                recorded.to_numpy()
            except owl.ExecutionError as error:
                assert error.kind == "forked", error.kind
                assert "forked" in str(error)
                code = 0
            with owl.create_cpu_device():
                assert (owl.ones([8]) + 1).to_numpy()[0] == 2
            owl.wait_for_all()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert np.allclose(recorded.to_numpy(), expected + 1)
    print((finished + 1).to_numpy().shape)
"""
BEFORE = {
    "idle": "pass",
    "pending": "_runtime.set_delay(3000); p = _runtime.promise([2]); q = p.array + 1; q.start_eval()\n"
    "    busy = [owl.elewise.tanh(finished + k) for k in range(9)]\n    owl.concat(busy, 0).start_eval()",
    "in a kernel": "_runtime.set_delay(50_000)\n    x = owl.elewise.tanh(finished).sum() + 1\n    x.start_eval()\n"
    "    time.sleep(0.02)",
    "while helpers compute": "owl.set_num_threads(4)\n    x = owl.randn([700, 700])\n    x = x * x\n"
    "    x.start_eval()\n    time.sleep(0.003)",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("before", BEFORE)
def test_fork(before):
    assert clean(CHILD.format(before=BEFORE[before])) == "(64, 64)\n"


def test_fork_while_other_threads_record_and_wait():
    clean(
        """
        stop = threading.Event()
        def record():
            x = owl.ones([32, 32])
            while not stop.is_set():
                x = owl.elewise.tanh(x * x)
                x.to_numpy()
        threads = [threading.Thread(target=record) for _ in range(3)]
        [t.start() for t in threads]
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                ok = (owl.ones([8]) + 1).to_numpy()[0] == 2
                os._exit(0 if ok else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        stop.set()
        [t.join() for t in threads]
        """,
        PYTHONWARNINGS="ignore::DeprecationWarning",
    )


def test_fifty_forks():
    clean(
        """
        x = owl.ones([16, 16])
        for k in range(50):
            x = x + 1
            x.start_eval()
            pid = os.fork()
            if pid == 0:
                os._exit(0 if (owl.ones([4]) * 3).to_numpy()[0] == 3 else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert x.to_numpy()[0, 0] == 51
        """,
        timeout=60,
        PYTHONWARNINGS="ignore::DeprecationWarning",
    )


def test_forks_of_forks():
    clean(
        """
        x = owl.ones([16])
        x.wait_for_eval()
        for depth in range(4):
            pid = os.fork()
            if pid:
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
                os._exit(0)
            x = x + 1
            assert x.to_numpy()[0] == depth + 2
        """,
        PYTHONWARNINGS="ignore::DeprecationWarning",
    )


def test_a_child_that_exits_the_usual_way_tells_no_failure_of_its_parent():
    # Once, both processes printed the exception that was never retrieved.
    done = run(
        program("""
        _runtime.inject_fault("exp")
        x = owl.elewise.exp(owl.ones([4]))
        owl.wait_for_all()
        if os.fork() == 0:
            (owl.ones([4]) + 1).to_numpy()
            sys.exit(0)
        os.wait()
        """),
        PYTHONWARNINGS="ignore::DeprecationWarning",
    )
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_promises_of_before_a_fork_are_failed_in_the_child():
    clean(
        """
        p = _runtime.promise([2])
        y = p.array + 1
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                p.fulfil(np.ones(2))  # it is too late here
                y.to_numpy()
            except owl.ExecutionError as error:
                code = 0 if error.kind == "forked" else 2
            del p
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        p.fulfil(np.ones(2))
        assert y.to_numpy().tolist() == [2, 2]
        """,
        PYTHONWARNINGS="ignore::DeprecationWarning",
    )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method, tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(
        "import multiprocessing, owl\n"
        "def square(k):\n"
        "    return float((owl.ones([4]) * k * k).sum())\n"
        "if __name__ == '__main__':\n"
        "    (owl.ones([64, 64]) * owl.ones([64, 64])).start_eval()\n"
        f"    with multiprocessing.get_context({method!r}).Pool(2) as pool:\n"
        "        print(pool.map(square, range(4)))\n"
    )
    done = run(
        f"import runpy, sys; sys.argv = [{str(script)!r}]; runpy.run_path({str(script)!r}, run_name='__main__')"
        if method == "fork"
        else f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, {str(script)!r}]))",
        PYTHONWARNINGS="ignore::DeprecationWarning",
    )
    assert (done.returncode, done.stdout) == (0, "[0.0, 4.0, 16.0, 36.0]\n"), done.stderr
    assert done.stderr == ""


def test_arrays_are_pickled_between_processes():
    import pickle

    import numpy as np

    import owl

    x = owl.from_numpy(np.arange(6, dtype=np.float64).reshape(2, 3), dtype=np.float64)
    y = pickle.loads(pickle.dumps(x + 1))
    assert y.dtype == np.float64
    assert np.array_equal(y.to_numpy(), x.to_numpy() + 1)
    assert sys.getrefcount(y) == 2
