"""Measures contestants side by side, and says on which machine, of which commit, and whether it was idle.

Each contestant is a process of its own that lives through the whole measurement, so that thread pools and allocators
of one do not disturb another's; only one works at a time. They take turns, A B A B, because clocks and neighbours
drift: what one round suffers, all of them suffer.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

BUSY_SHARE = 0.10  # of one core, used by others
DRIFT = 0.10  # of the time that a fixed computation takes

# glibc gives large blocks back to the system at each free, and PyTorch then pays for fresh pages in every step.
TUNED_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
}


class Worker:
    """A contestant's process: ``python -m MODULE BEFORE --worker NAME ARGUMENTS``, which must end in `serve`.

    `call` sends one command and blocks until its answer has come; a command that failed raises RuntimeError.
    """

    def __init__(
        self,
        module: str,
        name: str,
        *arguments: str,
        before: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *before, "--worker", name, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
        )

    def call(self, command: str, **arguments: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps({"command": command, "arguments": arguments}) + "\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # it has ended already; the empty answer below says so
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with code {self._process.wait()} during {command!r}")
        return json.loads(line)

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(commands: Mapping[str, Callable[..., Any]]) -> None:
    """A worker's main loop: answers commands until its standard input ends. What a library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = commands[request["command"]](**request["arguments"])
        print(json.dumps(answer), file=answers, flush=True)


def interleave(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Calls each contestant once a round, one after the other, and returns what each call answered, in seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            seconds[name].append(measure())
    return seconds


def threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ------------------------------------------------------------------------------------------------------------- idleness


def _spin() -> float:
    """Seconds that a fixed computation takes at best: the machine's clock, in effect."""

    def once() -> float:
        start = time.perf_counter()
        value = 0
        for i in range(100_000):
            value ^= i
        return time.perf_counter() - start

    return min(once() for _ in range(15))


def _cpu_seconds() -> float:
    """CPU time that all processes of the machine have used so far; 0 where the system does not tell."""
    try:
        with Path("/proc/stat").open() as stat:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _others(period: float) -> float:
    """How many cores others keep busy while this process sleeps."""
    before = _cpu_seconds()
    time.sleep(period)
    return (_cpu_seconds() - before) / period


@dataclass
class Idleness:
    """Watches, as a context around a measurement, whether the machine belonged to it alone."""

    spins: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    load: float = 0.0

    def _look(self) -> None:
        self.others.append(_others(1.0))
        self.spins.append(_spin())

    def __enter__(self) -> Idleness:
        self.load = os.getloadavg()[0]
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        self._look()

    @property
    def idle(self) -> bool:
        return max(self.others) < BUSY_SHARE and max(self.spins) / min(self.spins) < 1 + DRIFT

    def __str__(self) -> str:
        verdict = "idle" if self.idle else "NOT IDLE, take the figures as rough"
        return (
            f"{verdict} (load average {self.load:.2f} at the start; others used {self.others[0]:.2f} cores before and "
            f"{self.others[-1]:.2f} after; a fixed loop: {self.spins[0] * 1e3:.2f} and {self.spins[-1] * 1e3:.2f} ms)"
        )


# --------------------------------------------------------------------------------------------------------------- report


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + (" with changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def circumstances(idleness: Idleness, distributions: Sequence[str] = ("owl-runtime", "numpy", "torch")) -> str:
    """A Markdown list: machine, versions, commit, date, command, and whether the machine was idle."""
    versions = ", ".join(f"{name} {_version(name)}" for name in distributions)
    main = getattr(sys.modules["__main__"], "__spec__", None)
    command = shlex.join(["python", *(["-m", main.name] if main else [sys.argv[0]]), *sys.argv[1:]])
    return "\n".join(
        [
            f"- Machine: {_cpu_model()}, {threads()} cores, {platform.system()} {platform.release()}",
            f"- Versions: Python {platform.python_version()}, {versions}",
            f"- Commit: {_commit()}, {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC",
            f"- Command: `{command}`",
            f"- The machine was {idleness}",
        ]
    )


def table(seconds: Mapping[str, Sequence[float]], reference: str, unit: str = "µs") -> str:
    """A Markdown table of medians; the last column is how many times faster than `reference` each contestant is.

    The ratio is the median of the rounds' ratios, since the two halves of a round have had the same conditions.
    """
    scale = {"ns": 1e9, "µs": 1e6, "ms": 1e3}[unit]
    rows = [f"| | median, {unit} | best | worst | speed against {reference} |", "|---|---:|---:|---:|---:|"]
    for name, values in seconds.items():
        ratio = statistics.median(other / own for other, own in zip(seconds[reference], values))
        figures = (statistics.median(values), min(values), max(values))
        rows.append(f"| {name} | " + " | ".join(f"{value * scale:.1f}" for value in figures) + f" | {ratio:.2f} |")
    return "\n".join(rows)
