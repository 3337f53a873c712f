"""The end of a program, and forks: nothing hangs, nothing is printed, and a child does not touch the driver."""

import pytest

BEGIN = """
import asyncio, atexit, signal, threading, time

def pending():
    x = owl.from_numpy(np.full((200, 200), 1, np.float32))
    for k in range(60):
        x = ele.tanh(x * 1.01 + k)
    return x

def begin():
    with gpu:
        x = pending()
        x.eval()
        return x
"""

ENDS = {
    "nothing pending": ("with gpu:\n    (owl.ones([3]) + 1).to_numpy()", 0),
    "a device that never computed": ("pass", 0),
    "work is pending": ("x = begin()", 0),
    "recorded work": ("with gpu:\n    x = pending()", 0),
    "sys.exit": ("x = begin()\nsys.exit(3)", 3),
    "a loop that is closed": (
        "async def main():\n    with gpu:\n        return await (owl.ones([3]) + 1).eval()\n"
        "x = asyncio.run(main())\ny = begin()",
        0,
    ),
    "a daemon thread that goes on": (
        "def forever():\n    with gpu:\n        while True:\n            pending().to_numpy()\n"
        "threading.Thread(target=forever, daemon=True).start()\ntime.sleep(0.3)",
        0,
    ),
    "an atexit handler that computes": (
        "def late():\n    with gpu:\n        try:\n            (owl.ones([3]) + 1).to_numpy()\n"
        "        except owl.OwlError:\n            pass\natexit.register(late)\nx = begin()",
        0,
    ),
    "os._exit": ("x = begin()\nos._exit(4)", 4),
    "SIGTERM": ("x = begin()\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(5)", -15),
    "a forked child that ends first": (
        "x = begin()\nchild = os.fork()\nif not child:\n    sys.exit(0)\nassert os.waitpid(child, 0)[1] == 0",
        0,
    ),
    "two devices": ("other = owl.create_gpu_device(0)\nx = begin()\ny = x.to(other)\ny.eval()", 0),
}


@pytest.mark.parametrize("way", ENDS)
def test_a_program_ends(program, way):
    text, code = ENDS[way]
    program(BEGIN, text, arguments="", code=code, checks=False, timeout=10)


def test_an_exception_ends_a_program(python):
    done = python(
        "import owl, owl.testing\nowl.testing.standin()\n"
        "with owl.create_gpu_device(0):\n    x = (owl.ones([9]) + 1).eval()\n    raise KeyError('this one')\n",
        timeout=10,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "KeyError: 'this one'"


def test_ctrl_c_ends_a_program(python):
    done = python(
        "import os, signal, time, owl, owl.testing\nowl.testing.standin()\nwith owl.create_gpu_device(0):\n"
        "    x = (owl.ones([9]) + 1).eval()\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(5)\n",
        timeout=10,
    )
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"


def test_a_forked_child(program):
    program(
        """
    import traceback
    cpu = owl.create_cpu_device()
    with gpu:
        done = owl.ones([4]) * 2
        done.wait_for_eval()
        recorded = done + 1
    symbols = ["cuMemcpyDtoHAsync_v2", "cuLaunchKernel", "cuCtxPushCurrent_v2", "cuMemHostAlloc", "cuMemAlloc_v2"]
    child = os.fork()
    if child == 0:
        code = 1
        calls = [control.calls(symbol) for symbol in symbols]
        try:
            def refused(act, text):
                with pytest.raises(owl.OwlError) as caught:
                    act()
                assert text in str(caught.value)
            refused(done.to_numpy, "forked child")
            refused(recorded.to_numpy, "forked")
            with gpu:
                refused((owl.ones([3]) + 1).to_numpy, "forked child")
                for side in 3, 1500:  # and one that the CPU's threads would share out
                    refused(owl.from_numpy(np.ones((side, side), np.float32)).to_numpy, "forked child")
            refused(lambda: owl.create_gpu_device(0), "spawn")
            with cpu:
                assert (owl.ones([3]) + 1).to_numpy().tolist() == [2, 2, 2]
            del done, recorded
            owl.testing.trim_memory(gpu)
            assert [control.calls(symbol) for symbol in symbols] == calls
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    with gpu:
        assert (done + recorded).to_numpy().tolist() == [5, 5, 5, 5]
    """
    )


def test_asking_for_gpus_leaves_the_driver_alone(program):
    # CUDA is broken in the forked children of a process that has started it.
    program(
        """
    assert owl.has_cuda() and owl.get_gpu_device_count() == 1
    owl.show_config(file=open(os.devnull, "w"))
    assert not control.calls("cuInit")
    child = os.fork()
    if child == 0:
        gpu = owl.create_gpu_device(0)
        with gpu:
            ok = (owl.ones([3]) + 1).to_numpy().tolist() == [2, 2, 2]
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    """,
        device=False,
    )
