"""Writes random programs and runs each under every setting of the planner: all must agree in every bit.

``python -m owl.testing.fuzz --programs 20000 --seed 1 --seconds 600``. A program has loops, branches, demands,
handles that die late (kept in lists and in reference cycles), updates in place, devices, threads
and asyncio tasks. Its values are
also held against NumPy in float64. Injected faults and memory limits may take values away but never change one. A
program that fails is made as small as possible and printed; the same seed writes the same programs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import numpy as np
from hypothesis import strategies as st

import owl
import owl.testing
from owl import _runtime, elewise

SIZES = (1, 3, 8, 40)
LARGE = 1e3  # a value beyond it goes through tanh, so that float32 can follow float64
TOLERANCE = 2e-3
BATCH = 100  # programs between two looks at the clock

UNARY = ("relu", "sigm", "tanh", "exp", "abs", "square", "trans", "double", "copy", "flat", "softmax")
BINARY = ("add", "sub", "mult", "maximum", "relu_back", "sigm_back", "matmul", "matmul_tn", "matmul_nt")
REDUCTIONS = ("sum", "mean", "max", "argmax")
STEPS = (
    "relu_back",
    "argmax",
)  # not continuous: float32 need not follow float64, and only bits are compared after them


# ------------------------------------------------------------------------------------------------------------- programs


@dataclass(frozen=True)
class Statement:
    """One line of a program. Numbers choose among the arrays that exist when it is reached."""

    kind: str
    a: int = 0
    b: int = 0
    c: int = 0
    body: tuple[Statement, ...] = ()

    def __str__(self) -> str:
        inner = "".join("\n" + str(line) for line in self.body).replace("\n", "\n    ")
        return f"{self.kind}({self.a}, {self.b}, {self.c}){':' if self.body else ''}{inner}"


def _statement(kinds: Sequence[str]) -> st.SearchStrategy[Statement]:
    number = st.integers(0, 31)
    return st.builds(Statement, st.sampled_from(kinds), number, number, number)


SIMPLE = ("leaf", "unary", "unary", "binary", "binary", "binary", "number", "reduce", "slice", "concat", "update",
          "update", "name", "drop", "keep", "cycle", "look", "start")  # fmt: skip
QUIET = tuple(kind for kind in SIMPLE if kind not in ("drop", "keep", "cycle"))
_lines = st.lists(_statement([*SIMPLE, "borrow", "device", "collect"]), min_size=1, max_size=12).map(tuple)
_quiet = st.lists(_statement(QUIET), min_size=1, max_size=6).map(tuple)


def _block(kind: str, body: st.SearchStrategy[tuple[Statement, ...]]) -> st.SearchStrategy[Statement]:
    number = st.integers(0, 31)
    return st.builds(Statement, st.just(kind), number, number, number, body)


PROGRAMS = st.lists(
    st.one_of(
        _statement([*SIMPLE, "borrow", "device", "collect"]),
        _statement(SIMPLE),
        _block("loop", _lines),
        _block("branch", _lines),
        _block("threads", _quiet),
        _block("tasks", _quiet),
    ),
    min_size=2,
    max_size=14,
).map(tuple)


# -------------------------------------------------------------------------------------------------------- in two worlds


class NumpyWorld:
    """Operations over float64; shapes are owl's reversed. A value is exact, or only its shape and rough size are."""

    def leaf(self, values: np.ndarray, borrow: bool) -> np.ndarray:
        return values.astype(np.float64)

    def unary(self, name: str, x: np.ndarray) -> np.ndarray:
        if name in ("trans", "copy", "flat", "softmax", "square", "double"):
            return {
                "trans": lambda: x.T,
                "copy": lambda: x,
                "flat": lambda: x.reshape(1, -1),
                "softmax": lambda: owl.testing.softmax_oracle(x),
                "square": lambda: x * x,
                "double": lambda: x + x,
            }[name]()
        return owl.testing.oracles[name](x)

    def binary(self, name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if name.startswith("matmul"):
            return (y.T if name == "matmul_nt" else y) @ (x.T if name == "matmul_tn" else x)
        if name in ("add", "sub"):
            return x + y if name == "add" else x - y
        return owl.testing.oracles[name](x, y)

    def number(self, x: np.ndarray, which: int, value: float) -> np.ndarray:
        return (x + value, x * value, value - x, x / value)[which]

    def reduce(self, name: str, x: np.ndarray, axis: int) -> np.ndarray:
        if name == "argmax":
            return np.expand_dims(x.argmax(1 - axis), 1 - axis).astype(np.float64)
        return getattr(x, name)(axis=1 - axis, keepdims=True)

    def slice(self, x: np.ndarray, axis: int, start: int, count: int) -> np.ndarray:
        return x[:, start : start + count] if axis == 0 else x[start : start + count]

    def concat(self, x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.concatenate([x, y], 1 - axis)


class OwlWorld:
    """Runs a program's statements as owl operations."""

    def leaf(self, values: np.ndarray, borrow: bool) -> owl.NArray:
        return owl.from_numpy(values, copy=not borrow)

    def unary(self, name: str, x: owl.NArray) -> owl.NArray:
        special: dict[str, Callable[[], owl.NArray]] = {
            "trans": x.trans,
            "copy": x.copy,
            "flat": lambda: x.reshape([x.size, 1]),
            "softmax": lambda: owl.conv.softmax(x),
            "square": lambda: elewise.mult(x, x),
            "double": lambda: x + x,
        }
        return special[name]() if name in special else getattr(elewise, name)(x)

    def binary(self, name: str, x: owl.NArray, y: owl.NArray) -> owl.NArray:
        if name.startswith("matmul"):
            return (x.trans() if name == "matmul_tn" else x) * (y.trans() if name == "matmul_nt" else y)
        if name in ("add", "sub"):
            return x + y if name == "add" else x - y
        return getattr(elewise, name)(x, y)

    def number(self, x: owl.NArray, which: int, value: float) -> owl.NArray:
        return (lambda: x + value, lambda: x * value, lambda: value - x, lambda: x / value)[which]()

    def reduce(self, name: str, x: owl.NArray, axis: int) -> owl.NArray:
        return getattr(x, name)(axis)

    def slice(self, x: owl.NArray, axis: int, start: int, count: int) -> owl.NArray:
        return owl.slice(x, axis, start, count)

    def concat(self, x: owl.NArray, y: owl.NArray, axis: int) -> owl.NArray:
        return owl.concat([x, y], axis)


# -------------------------------------------------------------------------------------------------------------- a trace


@dataclass
class Step:
    """What a statement came to. Arrays are numbered as they are made; `update` points one at a new value."""

    kind: str
    target: int = 0
    call: Callable[[Any, list[Any]], Any] | None = None
    inputs: tuple[int, ...] = ()
    strands: tuple[tuple[Step, ...], ...] = ()


@dataclass
class Writer:
    """Runs a program on NumPy and writes down what owl has to do."""

    values: dict[int, np.ndarray] = field(default_factory=dict)
    rough: set[int] = field(default_factory=set)  # only bits can be compared
    named: list[int] = field(default_factory=list)
    fixed: frozenset[int] = frozenset()  # not to be updated: others read it at the same time
    counter: int = 0
    world: NumpyWorld = field(default_factory=NumpyWorld)
    looks: list[tuple[np.ndarray, bool]] = field(default_factory=list)  # wanted values, and whether they are exact

    def pick(self, number: int) -> int:
        return self.named[number % len(self.named)]

    def make(self, out: list[Step], call: Callable[[Any, list[Any]], Any], inputs: tuple[int, ...], rough: bool) -> int:
        target = self.counter
        self.counter += 1
        with np.errstate(all="ignore"):
            value = call(self.world, [self.values[i] for i in inputs])
        out.append(Step("make", target, call, inputs))
        self.values[target] = value
        if rough or any(i in self.rough for i in inputs):
            self.rough.add(target)
        if value.size and not np.abs(value).max() < LARGE:
            tame = self.make(out, lambda world, x: world.unary("tanh", x[0]), (target,), rough=True)
            self.named.remove(tame)
            target = tame
        self.named.append(target)
        return target

    def leaf(self, out: list[Step], a: int, b: int, c: int, borrow: bool) -> int:
        shape = (SIZES[a % 4], SIZES[b % 4])
        values = np.random.default_rng(a + 32 * b + 1024 * c).uniform(-1, 1, shape).astype(np.float32)
        return self.make(out, lambda world, _: world.leaf(values, borrow), (), False)

    def write(self, statements: Sequence[Statement]) -> list[Step]:
        out: list[Step] = []
        for s in statements:
            if not self.named:
                self.leaf(out, s.a, s.b, s.c, False)
            getattr(self, f"_{s.kind}")(out, s)
        return out

    def _leaf(self, out: list[Step], s: Statement) -> None:
        self.leaf(out, s.a, s.b, s.c, False)

    def _borrow(self, out: list[Step], s: Statement) -> None:
        self.leaf(out, s.a, s.b, s.c, True)

    def _unary(self, out: list[Step], s: Statement) -> None:
        name = UNARY[s.a % len(UNARY)]
        self.make(out, lambda world, x: world.unary(name, x[0]), (self.pick(s.b),), False)

    def _binary(self, out: list[Step], s: Statement) -> None:
        name = BINARY[s.a % len(BINARY)]
        x = self.pick(s.b)
        y = self.partner(name, x, s.c)
        if y is None:
            return
        self.make(out, lambda world, v: world.binary(name, v[0], v[1]), (x, y), name in STEPS)

    def partner(self, name: str, x: int, number: int) -> int | None:
        """An array that fits `x` as the right operand, the first from `number` on."""
        rows, columns = self.values[x].shape[::-1]
        for k in range(len(self.named)):
            y = self.pick(number + k)
            other = self.values[y].shape[::-1]
            if name.startswith("matmul"):
                if (rows if name == "matmul_tn" else columns) == other[1 if name == "matmul_nt" else 0]:
                    return y
            elif all(p == q or (1 in (p, q) and name in ("add", "sub")) for p, q in zip((rows, columns), other)):
                return y
        return None

    def _number(self, out: list[Step], s: Statement) -> None:
        which, value = s.a % 4, (s.c % 7 + 1) / 4
        self.make(out, lambda world, x: world.number(x[0], which, value), (self.pick(s.b),), False)

    def _reduce(self, out: list[Step], s: Statement) -> None:
        name, axis = REDUCTIONS[s.a % 4], s.c % 2
        self.make(out, lambda world, x: world.reduce(name, x[0], axis), (self.pick(s.b),), name in STEPS)

    def _slice(self, out: list[Step], s: Statement) -> None:
        x, axis = self.pick(s.a), s.c % 2
        length = self.values[x].shape[1 - axis]
        start = s.b % length
        count = 1 + (s.c // 2) % (length - start)
        self.make(out, lambda world, v: world.slice(v[0], axis, start, count), (x,), False)

    def _concat(self, out: list[Step], s: Statement) -> None:
        x, axis = self.pick(s.a), s.c % 2
        shape = self.values[x].shape
        fitting = [y for y in self.named if self.values[y].shape[axis] == shape[axis]]
        if shape[1 - axis] > 200:
            return
        self.make(out, lambda w, v: w.concat(v[0], v[1], axis), (x, fitting[s.b % len(fitting)]), False)

    def _update(self, out: list[Step], s: Statement) -> None:
        x = self.pick(s.a)
        y = self.partner("mult", x, s.b)
        if x in self.fixed or y is None:
            return
        scale = (s.c % 5 + 1) / 8
        call = lambda world, v: world.binary("sub", v[0], world.number(v[1], 1, scale))  # noqa: E731
        value = call(self.world, [self.values[x], self.values[y]])
        if value.size and not np.abs(value).max() < LARGE:
            return
        out.append(Step("update", x, call, (x, y)))
        self.values[x] = value
        if y in self.rough:
            self.rough.add(x)

    def _name(self, out: list[Step], s: Statement) -> None:
        self.named.append(self.pick(s.a))  # a second name for the same array

    def _drop(self, out: list[Step], s: Statement) -> None:
        x = self.pick(s.a)
        self.named.remove(x)
        if x not in self.named and x not in self.fixed:
            out.append(Step("drop", x))

    def _keep(self, out: list[Step], s: Statement) -> None:
        out.append(Step("keep", self.pick(s.a)))

    def _cycle(self, out: list[Step], s: Statement) -> None:
        out.append(Step("cycle", self.pick(s.a)))

    def _look(self, out: list[Step], s: Statement) -> None:
        x = self.pick(s.a)
        out.append(Step("look", x))
        self.looks.append((self.values[x], x not in self.rough))

    def _start(self, out: list[Step], s: Statement) -> None:
        out.append(Step("start", self.pick(s.a)))

    def _device(self, out: list[Step], s: Statement) -> None:
        out.append(Step("device", s.a % 2))

    def _collect(self, out: list[Step], s: Statement) -> None:
        out.append(Step("collect"))

    def _loop(self, out: list[Step], s: Statement) -> None:
        for _ in range(1 + s.a % 12):
            out += self.write(s.body)
            while len(self.named) > 24:
                self._drop(out, Statement("drop"))

    def _branch(self, out: list[Step], s: Statement) -> None:
        x = self.pick(s.a)
        self._look(out, s)
        if self.values[x].sum() > 0:
            out += self.write(s.body)

    def _strands(self, kind: str, out: list[Step], s: Statement) -> None:
        outer, self.fixed = self.fixed, frozenset(self.named)
        strands = []
        made: list[int] = []
        for _ in range(2):
            inner = Writer(
                dict(self.values), set(self.rough), list(dict.fromkeys(self.named)), self.fixed, self.counter
            )
            strands.append(tuple(inner.write(s.body)))
            self.counter, self.values, self.rough = inner.counter, inner.values, inner.rough
            self.looks += inner.looks
            made += [x for x in inner.named if x not in self.fixed]
        out.append(Step(kind, strands=tuple(strands)))
        self.fixed = outer
        self.named += made

    def _threads(self, out: list[Step], s: Statement) -> None:
        self._strands("threads", out, s)

    def _tasks(self, out: list[Step], s: Statement) -> None:
        self._strands("tasks", out, s)


class Player:
    """Does on owl what a trace says, and returns what it saw: arrays, or the names of failures."""

    def __init__(self) -> None:
        self.world = OwlWorld()
        self.arrays: dict[int, owl.NArray] = {}
        self.kept: list[owl.NArray] = []

    def look(self, array: owl.NArray) -> Any:
        try:
            return array.to_numpy()
        except owl.OwlError as error:
            return type(error).__name__

    def step(self, step: Step, seen: list[Any]) -> None:
        arrays = self.arrays
        if step.kind == "make":
            assert step.call is not None
            arrays[step.target] = step.call(self.world, [arrays[i] for i in step.inputs])
        elif step.kind == "update":
            x, y = (arrays[i] for i in step.inputs)
            assert step.call is not None
            scaled = step.call(_Scaling(), [x, y])
            x -= scaled
        elif step.kind == "drop":
            del arrays[step.target]
        elif step.kind == "keep":
            self.kept.append(arrays[step.target].copy())
        elif step.kind == "cycle":
            loop: list[Any] = [arrays[step.target] + 1.0]
            loop.append(loop)
        elif step.kind == "look":
            seen.append(self.look(arrays[step.target]))
        elif step.kind == "start":
            arrays[step.target].start_eval()
        elif step.kind == "device":
            owl.set_device(devices()[step.target])
        elif step.kind == "collect":
            gc.collect()
        else:
            seen += (self.in_threads if step.kind == "threads" else self.in_tasks)(step.strands)

    def in_threads(self, strands: Sequence[Sequence[Step]]) -> list[Any]:
        seen: list[list[Any]] = [[] for _ in strands]
        failures: list[BaseException] = []
        device = owl.get_device()

        def body(number: int) -> None:
            try:
                owl.set_device(device)
                for step in strands[number]:
                    self.step(step, seen[number])
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=body, args=(number,)) for number in range(len(strands))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return [value for values in seen for value in values]

    def in_tasks(self, strands: Sequence[Sequence[Step]]) -> list[Any]:
        async def body(strand: Sequence[Step]) -> list[Any]:
            seen: list[Any] = []
            for step in strand:
                self.step(step, seen)
                await asyncio.sleep(0)
            return seen

        async def main() -> list[list[Any]]:
            return await asyncio.gather(*(body(strand) for strand in strands))

        return [value for values in asyncio.run(main()) for value in values]

    def play(self, trace: Sequence[Step]) -> list[Any]:
        seen: list[Any] = []
        for step in trace:
            self.step(step, seen)
        gc.collect()
        return seen + [self.look(array) for _, array in sorted(self.arrays.items())] + [self.look(x) for x in self.kept]


class _Scaling(OwlWorld):
    """Of an update `x - scale * y` it makes what is to be subtracted."""

    def binary(self, name: str, x: owl.NArray, y: owl.NArray) -> owl.NArray:
        return y


# ------------------------------------------------------------------------------------------------------------- settings


@functools.cache
def devices() -> tuple[owl.Device, owl.Device]:
    return owl.create_cpu_device(), owl.create_cpu_device()


@contextlib.contextmanager
def _afresh() -> Iterator[None]:
    _runtime.clear_plans()
    yield


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    was = _runtime.set_early_start(False)
    try:
        yield
    finally:
        _runtime.set_early_start(was)


SETTINGS: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "planned afresh": _afresh,
    "replayed": contextlib.nullcontext,
    "patient": _patient,
    "random windows 1": lambda: owl.testing.random_windows(1),
    "random windows 2": lambda: owl.testing.random_windows(2),
    "tiny windows": lambda: owl.testing.bounds(nodes=3),
    "small windows": lambda: owl.testing.bounds(nodes=11),
}


def _play(trace: Sequence[Step]) -> list[Any]:
    owl.set_device(devices()[0])
    return Player().play(trace)


def _compare(found: list[Any], wanted: list[Any], setting: str, may_fail: bool = False) -> None:
    assert len(found) == len(wanted), f"{setting}: {len(found)} values instead of {len(wanted)}"
    for number, (a, b) in enumerate(zip(found, wanted)):
        if isinstance(a, str):
            assert may_fail, f"{setting}: value {number} failed with {a}"
        else:
            assert a.shape == b.shape, f"{setting}: value {number} has shape {a.shape} instead of {b.shape}"
            assert a.tobytes() == b.tobytes(), f"{setting}: value {number} differs by {np.nanmax(np.abs(a - b))}"


def check(program: Sequence[Statement], fault: int = 0) -> None:
    """Runs a program under all settings; raises AssertionError where two disagree, or where native objects leak."""
    writer = Writer()
    trace = writer.write(program)
    with owl.testing.assert_no_leaks():
        with owl.testing.unfused():
            wanted = _play(trace)
        for value, (exact, sure) in zip(wanted, writer.looks):
            assert not isinstance(value, str), f"unfused: {value}"
            if sure:
                scale = max(1.0, float(np.abs(exact).max(initial=0)))
                np.testing.assert_allclose(value, exact, rtol=0, atol=TOLERANCE * scale, err_msg="against NumPy")
        for name, setting in SETTINGS.items():
            with setting():
                found = _play(trace)
            _compare(found, wanted, name)
        operations = owl.testing.operations()
        with owl.testing.faults(operations[fault % len(operations)], skip=fault % 5, count=1 + fault % 3):
            found = _play(trace)
        _compare(found, wanted, "with faults", may_fail=True)
        with owl.testing.memory_limit(4096 * (1 + fault), beyond_current=True):
            try:
                found = _play(trace)
            except owl.OutOfMemoryError:  # of from_numpy, which copies at once
                found = wanted
        _compare(found, wanted, "with little memory", may_fail=True)


def run(programs: int, seed: int, seconds: float) -> int:
    """Checks programs until so many have passed or the time is over; returns how many did. Raises at a failure."""
    end = time.monotonic() + seconds
    passed = 0
    gc.freeze()  # a program collects garbage a dozen times, and modules are none

    def one(program: tuple[Statement, ...], fault: int) -> None:
        nonlocal passed
        hypothesis.note("\n".join(map(str, program)))
        check(program, fault)
        passed += 1

    batch = 0
    while passed < programs and time.monotonic() < end:
        test = hypothesis.given(PROGRAMS, st.integers(0, 255))(one)
        test = hypothesis.seed(seed + batch)(test)
        hypothesis.settings(
            max_examples=min(BATCH, programs - passed),
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )(test)()
        batch += 1
    return passed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--programs", type=int, default=1000, help="stop after so many (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="which programs (default 1)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    passed = run(options.programs, options.seed, options.seconds)
    seconds = time.monotonic() - start
    print(f"{passed} programs agree under {len(SETTINGS) + 3} settings, seed {options.seed}, {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
