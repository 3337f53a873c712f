"""Compiles the stand-in driver at its first use, and keeps it for the next process."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import owl
from owl._cache import cache_folder

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent.parent
KERNELS = PACKAGE / "_cuda" / "kernels"
SUFFIXES = (".cpp", ".cu", ".cuh", ".def", ".h")
FLAGS = [
    *("-std=c++17", "-fPIC", "-pthread", "-fvisibility=hidden", "-march=native", "-Wno-psabi"),
    *("-ffp-contract=off", "-fno-math-errno"),  # as owl's own kernels: the same bits
]
# The block in hand is a variable of each library.
ENTRY = """
extern "C" __attribute__((visibility("default"))) void enter_{kernel}(
    owl::simt::Block* block, const owl::cuda::ElementwiseLaunch& a) {{
    owl::simt::block() = block;
    {kernel}(a);
}}
"""
KINDS = {"plain": ["-O2"], "checked": ["-O1", "-DOWL_CHECKED=1"]}


def compiler() -> list[str]:
    """The compiler that owl itself would be built with."""
    return shlex.split(os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++")


def flags(kind: str) -> list[str]:
    return [*FLAGS, *KINDS[kind], *shlex.split(os.environ.get("CXXFLAGS", "")), f"-I{PACKAGE}"]


def sources() -> list[Path]:
    """Everything that may be compiled or included."""
    folders = [HERE, KERNELS, PACKAGE / "_engine" / "graph"]
    files = [file for folder in folders for file in folder.iterdir() if file.suffix in SUFFIXES]
    files += (PACKAGE / "_cpu" / "kernels").rglob("*.h")
    return sorted([*files, PACKAGE / "_cuda" / "driver.def", PACKAGE / "_cuda" / "driver.h"])


def processor() -> str:
    """What -march=native stands for: a home folder may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def digest(kind: str, text: str = "") -> str:
    """Of all that the library is made of, or what is compiled from `text` with its headers."""
    version = _run([*compiler(), "--version"]).stdout
    known = hashlib.sha256()
    for part in (version, processor(), *flags(kind), text):
        known.update(part.encode() + b"\0")
    for file in sources():
        known.update(file.name.encode() + b"\0" + file.read_bytes())
    return known.hexdigest()[:20]


def build(checked: bool) -> Path:
    """The library, compiled if no process has done so before: with checks of order and of shared arrays, or without."""
    kind = "checked" if checked else "plain"
    folder = cache_folder("standin") / digest(kind)
    target = folder / f"libcuda-{kind}.so"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        if not target.exists():
            print(f"owl: building the stand-in driver ({kind}) in {folder}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(dir=folder) as aside:
                _link(_compile(kind, Path(aside)), Path(aside) / target.name, kind)
                (Path(aside) / target.name).replace(target)
    return target


def module(text: str, kernel: str, checked: bool) -> bytes:
    """A library with one kernel, for cuModuleLoadData: of NVRTC's text, with the catalogue's flags."""
    kind = "checked" if checked else "plain"
    folder = Path(tempfile.mkdtemp(prefix="owl-module-"))  # TemporaryDirectory goes at the exit of a forked child too
    try:
        source, target = folder / f"{kernel}.cpp", folder / f"{kernel}.so"
        source.write_text(text + ENTRY.format(kernel=kernel))
        _run_aside([*compiler(), *flags(kind), "-shared", str(source), "-o", str(target)])
        return target.read_bytes()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Aside:
    """The compiler that another thread runs while the program goes on, until the program ends."""

    running: subprocess.Popen[str] | None = None
    ended = False


_lock = threading.Lock()


def cancel() -> None:
    """Ends the compiler of a module that is under way, and lets no other one begin."""
    with _lock:
        _Aside.ended = True
        if _Aside.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(_Aside.running.pid, signal.SIGKILL)


def _run_aside(command: list[str]) -> None:
    with _lock:
        if _Aside.ended:
            raise owl.DeviceError("the program ends")
        # Ctrl-C is for the program and not for its compiler.
        running = _Aside.running = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    try:
        _, told = running.communicate()
    finally:
        with _lock:
            _Aside.running = None
    if running.returncode:
        raise owl.DeviceError(f"[standin] {shlex.join(command)} failed:\n{told[-4000:]}")


def _compile(kind: str, folder: Path) -> list[Path]:
    def one(source: Path) -> Path:
        made = folder / f"{source.name}.o"
        _run([*compiler(), *flags(kind), "-x", "c++", "-c", str(source), "-o", str(made)])
        return made

    jobs = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)
    texts = [*sorted(KERNELS.glob("*.cu")), *sorted(HERE.glob("*.cpp"))]
    with ThreadPoolExecutor(jobs, thread_name_prefix="owl-standin") as pool:
        return list(pool.map(one, texts))


def _link(objects: list[Path], target: Path, kind: str) -> None:
    _run([*compiler(), *flags(kind), "-shared", *map(str, objects), "-o", str(target)])


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        raise owl.DeviceError(
            "[standin] the stand-in driver is compiled when it is first used, and there is no compiler "
            f"{command[0]!r}: install one for C++17 (on Debian: apt install g++), or name another one in CXX"
        )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise owl.DeviceError(f"[standin] {shlex.join(command)} failed:\n{done.stderr[-4000:]}")
    return done


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time. The lock goes with the process, however that ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
