"""What developers run besides ``pytest``: ``nox -s NAME``, each in a virtual environment of its own.

tests    the whole suite, built with assertions and debug counters
lint     ruff, mypy, cython-lint
fuzz     random programs under every setting of the planner: ``nox -s fuzz -- --seconds 600 --seed 3``
asan     the rules' tests and random programs under AddressSanitizer; ubsan and tsan likewise. ``-- -k NAME`` runs a
         part of the tests, ``-- --seconds 600 --seed 3`` more random programs
remote   the whole suite and random programs on the remote device, and on it beside a CPU
gpu      the whole suite and random programs on a GPU, or on the stand-in where there is none
bench    the benchmarks that docs/performance.md quotes
"""

import argparse
import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).resolve().parent


def install_copy(session: nox.Session, extra: str, **build: str) -> None:
    """Installs a copy of the checkout, editable, and goes there.

    An extension of another kind of build may lie in the checkout's own ./owl, where python would find it first, and a
    sanitizer's extension must not be left there. The copy is kept, and with it the objects that are up to date.
    """
    copy = ROOT / ".nox" / f"{session.name}-checkout"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    listing = [name for name in os.fsdecode(listed.stdout).split("\0") if name and os.path.lexists(ROOT / name)]
    links = {name for name in listing if (ROOT / name).is_symlink()}
    files = {name for name in listing if name not in links}
    for folder in ("owl", "apps", "tests", "benchmarks"):
        for old in [path for path in (copy / folder).rglob("*") if path.is_file()]:
            if old.suffix != ".so" and str(old.relative_to(copy)) not in files:
                old.unlink()
    for name in sorted(files):
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    for name in sorted(links):
        target = copy / name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((ROOT / name).readlink())
    session.chdir(copy)
    session.env["PYTHONPATH"] = ""  # it may name the checkout
    session.env.update(build)  # tests/native builds its module of the same kind
    session.install("-e", f".[{extra}]")


@nox.session
def tests(session: nox.Session) -> None:
    install_copy(session, "test", OWL_DEBUG="1")
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    # mypy reads the extension's types from its .pyi, so nothing has to be built.
    # What owl's modules and benchmarks import.
    typed = ["hypothesis", "starlette", "types-requests", "uvicorn", "uvloop"]
    session.install("ruff", "mypy", "cython-lint", "numpy", *typed)
    session.run("ruff", "check", ".")
    session.run("mypy")
    folders = (ROOT / "owl", ROOT / "tests")
    cython = [path for suffix in ("pyx", "pxd", "pxi") for folder in folders for path in folder.rglob(f"*.{suffix}")]
    session.run("cython-lint", *map(str, sorted(cython)))


@nox.session
def fuzz(session: nox.Session) -> None:
    install_copy(session, "test", OWL_DEBUG="1")
    session.run("python", "-m", "owl.testing.fuzz", *(session.posargs or ["--seconds", "60"]))


# Beside those of the rules and the planner: what native code must stand.
NATIVE_TESTS = [
    "tests/test_guards.py",
    "tests/operations/test_random_streams.py",
    "tests/operations/test_shapes_beside_zeros.py",
    "tests/convolution/test_parameters.py",
    "tests/convolution/test_blank_windows.py",
    "tests/convolution/test_cross_entropy.py",
]


def sanitized(session: nox.Session, kind: str, runtime: str, **options: str) -> None:
    """Builds everything under one sanitizer, and runs a stress program, random ones and the tests of the rules.

    The sanitizer's runtime is preloaded, since python has none.
    """
    # libstdc++ as well: the runtime looks for the function that throws when the process starts, to intercept it.
    preload = [
        subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in (runtime, "libstdc++.so")
    ]
    if not all(Path(name).is_absolute() for name in preload):
        session.skip(f"g++ comes without {runtime}")
    install_copy(session, "test", OWL_DEBUG="1", OWL_SANITIZE=kind, CXX="g++")
    environment = {"LD_PRELOAD": " ".join(preload), "PYTHONMALLOC": "malloc", **options}
    parser = argparse.ArgumentParser(prog=f"nox -s {session.name} --")
    parser.add_argument("--seconds", default="60", help="how long the stress program and the random programs run, each")
    parser.add_argument("--seed", default="1", help="of the random programs")
    chosen, chosen_tests = parser.parse_known_args(session.posargs)
    session.run("python", "tests/sanitizers/stress.py", chosen.seconds, env=environment)
    fuzzing = ["--programs", "1000000", "--seconds", chosen.seconds, "--seed", chosen.seed]
    session.run("python", "-m", "owl.testing.fuzz", *fuzzing, env=environment)
    session.run("python", "-m", "owl.testing.fuzz", *fuzzing, "--devices", "cpu+remote", env=environment)
    tests = chosen_tests or ["tests/native", "tests/rules", "tests/planner", *NATIVE_TESTS]
    session.run("python", "-m", "pytest", "-q", "-p", "no:faulthandler", *tests, env=environment)
    if not chosen_tests:
        device = ["-m", "standin", "tests/gpu/device"]
        session.run("python", "-m", "pytest", "-q", "-p", "no:faulthandler", *device, env=environment)


@nox.session
def asan(session: nox.Session) -> None:
    # Leaks are not looked for, as python keeps much until the end. Allocations that tests make fail return null.
    suppressions = ROOT / "tests" / "sanitizers" / "asan-suppressions.txt"
    options = f"detect_leaks=0:allocator_may_return_null=1:suppressions={suppressions}"
    sanitized(session, "address", "libasan.so", ASAN_OPTIONS=options)


@nox.session
def ubsan(session: nox.Session) -> None:
    sanitized(session, "undefined", "libubsan.so", UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1")


@nox.session
def tsan(session: nox.Session) -> None:
    # OpenBLAS has threads and locks of its own making, which the sanitizer cannot follow.
    # A forked child has threads again when it computes, which the sanitizer would refuse.
    suppressions = ROOT / "tests" / "sanitizers" / "tsan-suppressions.txt"
    options = "halt_on_error=1:second_deadlock_stack=1:die_after_fork=0:allocator_may_return_null=1"
    options += f":suppressions={suppressions}"
    sanitized(session, "thread", "libtsan.so", TSAN_OPTIONS=options, OPENBLAS_NUM_THREADS="1")


@nox.session
def remote(session: nox.Session) -> None:
    install_copy(session, "test", OWL_DEBUG="1")
    for devices in ("remote", "cpu+remote"):
        session.run("python", "-m", "pytest", "-q", "--device", devices)
        session.run("python", "-m", "owl.testing.fuzz", "--programs", "5000", "--devices", devices)


@nox.session
def gpu(session: nox.Session) -> None:
    install_copy(session, "test")
    session.run("python", "-m", "pytest", "-q", "--device", "gpu:0")
    for devices in ("gpu:0", "cpu+gpu:0"):
        for graphs in ("1", "always"):
            fuzzing = ["owl.testing.fuzz", "--programs", "2000", "--devices", devices]
            session.run("python", "-m", *fuzzing, env={"OWL_CUDA_GRAPHS": graphs})


@nox.session
def bench(session: nox.Session) -> None:
    install_copy(session, "bench")
    for name in session.posargs or ["record", "step", "step_cnn"]:
        session.run("python", "-m", f"benchmarks.{name}")
