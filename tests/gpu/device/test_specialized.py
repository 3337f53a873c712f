"""Programs that run often get kernels of their own, with the same bits, and nothing else changes."""

import os
import re
import subprocess
import sys
import time

import pytest

# Kernels are kept in a folder of the test's own, and every compiler that runs is counted.
BEGIN = """
import time
from pathlib import Path
from owl._cuda import cache
from owl.testing._standin import building
from owl.testing import specialized_kernels as kernels

cache.folder = lambda: Path(os.environ.get("TEST_CACHE", "kept"))
compiled, module, usual = [], building.module, building.compiler

def counted(text, kernel, checked):
    compiled.append(kernel)
    return module(text, kernel, checked)

building.module = counted
rng = np.random.default_rng(1)
x, b = rng.standard_normal((300, 7)).astype(np.float32), rng.standard_normal((1, 7)).astype(np.float32)

def step(device=None, x=x):
    with device or gpu:
        a = owl.from_numpy(x)
        return (ele.relu(a * 2 + owl.from_numpy(b[:, : x.shape[1]])) - ele.tanh(a)).to_numpy()

def repeat(runs, device=None, x=x):
    first = step(device, x)
    for _ in range(runs - 1):
        assert step(device, x).tobytes() == first.tobytes()
    return first
"""


def test_a_kernel_takes_over_between_two_runs(program):
    program(
        BEGIN,
        """
        wanted = repeat(4)
        assert kernels() == {"waiting": 0, "made": 0, "failed": 0, "launches": 0}
        repeat(1)
        now = kernels(wait=True)
        assert (now["made"], now["failed"], now["launches"]) == (1, 0, 0), now
        assert repeat(7).tobytes() == wanted.tobytes()
        assert kernels()["launches"] == 7
        assert compiled == ["specialized_f32"]
        """,
        OWL_CUDA_JIT_RUNS="5",
    )


def test_it_takes_fifty_runs(program):
    program(
        BEGIN,
        """
        repeat(49)
        now = kernels()
        assert (now["waiting"], now["made"]) == (0, 0)
        repeat(1)
        assert kernels(wait=True)["made"] == 1
        """,
    )


def test_programs_of_all_kinds(program):
    # Mixed types, inputs that are the same along a dimension, sums over columns, sizes around a multiple of four.
    program(
        BEGIN,
        """
        wide = rng.standard_normal((300, 7))

        def steps():
            with gpu:
                a, c, d = owl.from_numpy(x), owl.from_numpy(b), owl.from_numpy(wide, dtype=np.float64)
                yield ((ele.mult(a, c) + 1).astype(np.float64) / d).to_numpy()
                for y in (ele.mult(a - c, a), ele.sigm(d) * 3):
                    yield (y - 1).sum(1).to_numpy()  # in the pass of the difference
                    yield y.to_numpy()
                for size in (1, 3, 4, 5):
                    yield (owl.from_numpy(np.arange(size, dtype=np.float32)) * -0.5 + 1).to_numpy()
                yield (owl.from_numpy(np.zeros((0, 3), np.float32)) * 2).to_numpy()

        wanted = [value.tobytes() for value in steps()]
        now = kernels(wait=True)
        assert now["made"] > 3 and not now["failed"], now
        for _ in range(2):
            assert [value.tobytes() for value in steps()] == wanted
        assert kernels()["launches"] >= now["launches"] + 2 * now["made"], kernels()
        assert any("rows" in name for name in compiled)
        """,
        OWL_CUDA_JIT_RUNS="1",
    )


def test_plans_and_devices_share_a_kernel(program):
    program(
        BEGIN,
        """
        repeat(2)
        assert kernels(wait=True)["made"] == 1
        other = owl.create_gpu_device(1)
        for size in (5, 100):
            repeat(3, x=x[:size])
        assert kernels(wait=True) == {"waiting": 0, "made": 1, "failed": 0, "launches": 6}
        repeat(2, other)
        assert kernels(wait=True)["made"] == 2
        repeat(1, other)
        assert kernels()["launches"] == 7
        assert compiled == ["specialized_f32"]
        """,
        arguments="checked=True, devices=2",
        OWL_CUDA_JIT_RUNS="2",
    )


def test_the_disk_keeps_kernels(program, tmp_path):
    for times in (1, 0):
        program(
            BEGIN,
            f"""
            repeat(1)
            assert kernels(wait=True)["made"] == 1
            repeat(1)
            assert kernels()["launches"] == 1
            assert len(compiled) == {times}
            """,
            OWL_CUDA_JIT_RUNS="1",
            TEST_CACHE=str(tmp_path / "kept"),
        )


def test_it_can_be_switched_off(program):
    program(
        BEGIN,
        """
        repeat(5)
        assert kernels(wait=True) == {"waiting": 0, "made": 0, "failed": 0, "launches": 0}
        assert not compiled
        """,
        OWL_CUDA_JIT="0",
        OWL_CUDA_JIT_RUNS="1",
    )


@pytest.mark.parametrize(("variable", "value"), [("OWL_CUDA_JIT", "yes"), ("OWL_CUDA_JIT_RUNS", "0")])
def test_a_setting_that_is_wrong(program, variable, value):
    program(
        f"""
        with pytest.raises(owl.OwlValueError, match={variable!r}):
            owl.create_gpu_device(0)
        """,
        device=False,
        **{variable: value},
    )


BROKEN = {
    "a compiler that fails": "building.FLAGS.append('--no-such-option')",
    "a text that is wrong": "building.ENTRY += '}}'",
    "a module that cannot be loaded": "control.fail('cuModuleLoadData', 1, 209)",
    "a kernel that is not in its module": "control.fail('cuModuleGetFunction', 1, 500)",
}


@pytest.mark.parametrize("way", BROKEN)
def test_what_cannot_be_made_is_told_once_and_done_without(program, way):
    program(
        BEGIN,
        f"""
        import warnings
        {BROKEN[way]}
        told = []
        warnings.showwarning = lambda message, *rest: told.append(str(message))
        wanted = repeat(3)
        assert kernels(wait=True) == {{"waiting": 0, "made": 0, "failed": 1, "launches": 0}}
        assert repeat(3).tobytes() == wanted.tobytes()
        if {way!r}.startswith("a compiler"):
            with gpu:
                (owl.from_numpy(x) * 3).to_numpy()
            assert kernels(wait=True)["failed"] == 2
        assert len(told) == 1 and told[0].startswith("programs run by the interpreter"), told
        """,
        OWL_CUDA_JIT_RUNS="1",
    )


def test_the_end_of_a_program_ends_the_compiler(program):
    # A compiler that would never end by itself.
    start = time.monotonic()
    program(
        BEGIN,
        """
        forever = "import sys, time; '--version' in sys.argv or time.sleep(500)"
        building.compiler = lambda: [sys.executable, "-c", forever]
        repeat(2)
        while not building._Aside.running:
            pass
        """,
        OWL_CUDA_JIT_RUNS="1",
        arguments="",
    )
    assert time.monotonic() - start < 60


def test_the_end_of_a_program_waits_for_a_compiler_that_cannot_be_ended(program):
    # Its library must not be taken down under it.
    told = program(
        BEGIN,
        """
        import threading
        begun = threading.Event()
        def slow(*texts):
            begun.set()
            time.sleep(0.5)
            print("over", flush=True)
            raise owl.DeviceError("not told at the end")
        building.module = slow
        repeat(2)
        begun.wait()
        """,
        OWL_CUDA_JIT_RUNS="1",
        arguments="",
    )
    assert told == "over\n"


def test_a_forked_child_has_no_compiler(program):
    program(
        BEGIN,
        """
        import threading
        cpu, go = owl.create_cpu_device(), threading.Event()
        def held(*texts):
            go.wait()
            return module(*texts)
        building.module = held
        wanted = repeat(2)
        child = os.fork()
        if child == 0:
            with cpu:
                ok = (owl.ones([3]) + 1).to_numpy().tolist() == [2, 2, 2]
            ok = ok and kernels(wait=True)["made"] == 0  # and it does not wait
            sys.exit(0 if ok else 1)
        assert os.waitpid(child, 0)[1] == 0
        go.set()
        assert kernels(wait=True)["made"] == 1
        assert repeat(2).tobytes() == wanted.tobytes()
        assert kernels()["launches"] == 2
        """,
        OWL_CUDA_JIT_RUNS="1",
    )


def test_a_child_that_ends_leaves_the_compiler_alone(program):
    program(
        BEGIN,
        """
        building.compiler = lambda: ["sh", "-c", 'sleep 0.5; exec "$@"', "sh", *usual()]
        repeat(2)
        while not building._Aside.running:
            pass
        child = os.fork()
        if child == 0:
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert building._Aside.running
        now = kernels(wait=True)
        assert (now["made"], now["failed"]) == (1, 0), now
        """,
        OWL_CUDA_JIT_RUNS="1",
    )


def test_random_programs(program):
    # Once to have kernels made, which the disk may keep, and once more with them.
    program(
        """
        from owl.testing import fuzz
        from owl.testing.fuzz.worlds import choose_devices
        choose_devices("cpu+gpu:0")
        fuzz.run(30, 1, float("inf"))
        before = owl.testing.specialized_kernels(wait=True)
        assert before["made"] > 10 and not before["failed"], before
        fuzz.run(30, 1, float("inf"))
        after = owl.testing.specialized_kernels()
        assert after["launches"] > before["launches"] + 50, (before, after)
        """,
        timeout=500,
        OWL_CUDA_JIT_RUNS="1",
    )


def fuzz(*arguments, **env):
    return subprocess.run(
        [sys.executable, "-m", "owl.testing.fuzz", "--kind", "specialized", "--devices", "cpu+gpu:0", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **env},
        check=False,
    )


def test_the_fuzzer_counts_kernels_and_their_launches():
    done = fuzz("--programs", "4", "--seed", "3", "--first", "10", OWL_CUDA_JIT_RUNS="1")
    assert done.returncode == 0, done.stderr
    made, launches = re.search(
        r"4 programs agree with (\d+) kernels of their own, launched (\d+) times", done.stdout
    ).groups()
    assert int(launches) >= int(made) > 0


def test_the_fuzzer_fails_where_no_kernel_was_launched():
    done = fuzz("--programs", "4", "--seed", "3", "--first", "10", OWL_CUDA_JIT="0")
    assert done.returncode == 1
    assert "0 kernels of their own, launched 0 times" in done.stderr
