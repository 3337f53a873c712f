"""What a program does, worked out on NumPy: a list of steps without branches or loops, and the values to be seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from owl.testing.fuzz.program import Statement
from owl.testing.fuzz.worlds import BINARY, REDUCTIONS, STEPS, UNARY, NumpyWorld

SIZES = (1, 3, 8, 40)
LARGE = 1e3  # a value beyond it goes through tanh, so that float32 can follow float64


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
