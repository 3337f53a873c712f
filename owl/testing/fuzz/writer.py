"""Runs a program on NumPy and writes down what owl has to do: one method for each kind of statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import owl
from owl.testing.fuzz.program import Statement
from owl.testing.fuzz.trace import MOST, Step, Tracer
from owl.testing.fuzz.worlds import BINARY, GRADIENTS, NETS, REDUCTIONS, STEPS, TERNARY, UNARY, OwlWorld

SIZES = (1, 3, 8, 40) * 3 + (1, 3, 8, 300)  # with 300, kernels are shared out among threads
LARGER = ((40, 40), (40, 40), (64, 17), (40, 300))  # of which the planner may leave a value recorded
SMALL = (1, 2, 3, 5)  # of arrays that are no matrices
CHAIN = ("tanh", "negative", "root", "sigm", "abs", "log", "clip", "relu")
NAMES = 24  # after a loop's round no more than so many arrays are named


def _numbers(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _shape(a: int, b: int, c: int) -> tuple[int, ...]:
    if c < 24 and c % 4 == 1:
        return LARGER[a % 4]
    if c < 24:
        return SIZES[a % 16], SIZES[b % 16]
    shape = SMALL[a % 4], SMALL[b % 4], SMALL[a // 4 % 4], SMALL[b // 4 % 4]
    return shape[: (1, 3, 4, 4)[c % 4]]


class Writer(Tracer):
    """The trace of a program that begins with `write`."""

    def write(self, statements: Sequence[Statement]) -> list[Step]:
        out: list[Step] = []
        for s in statements:
            if not self.named:
                self.leaf(out, s.a, s.b, s.c, 0)
            getattr(self, f"_{s.kind}")(out, s)
        return out

    # ---------------------------------------------------------------------------------------------------------- leaves

    def leaf(self, out: list[Step], a: int, b: int, c: int, way: int) -> int:
        dtype = np.float64 if a >= 28 else np.float32
        values = _numbers(a, b, c).uniform(-1, 1, _shape(a, b, c)[::-1]).astype(dtype)
        return self.make(out, lambda world, _: world.leaf(values, way == 1), dtype=dtype)

    def _leaf(self, out: list[Step], s: Statement) -> None:
        if s.c % 8 == 7:
            shape, value = _shape(s.a, s.b, s.c), (s.a % 5) / 4
            self.make(out, lambda world, _: world.full(shape, value, np.float32), dtype=np.float32)
        else:
            self.leaf(out, s.a, s.b, s.c, 0)

    def _borrow(self, out: list[Step], s: Statement) -> None:
        self.leaf(out, s.a, s.b, s.c, 1)

    def _promise(self, out: list[Step], s: Statement) -> None:
        values = _numbers(s.a, s.b, s.c, 1).uniform(-1, 1, _shape(s.a, s.b, s.c)[::-1]).astype(np.float32)
        step = Step("promise", call=lambda *_: values, way=s.c % 2)
        exact = values.astype(np.float64)
        self.enter(out, step, exact, exact, False, np.float32)

    def _draw(self, out: list[Step], s: Statement) -> None:
        which, shape, dtype = s.a % 3, _shape(s.a // 3, s.b, s.c), np.float64 if s.b >= 28 else np.float32
        if self.strand:
            # Every thread and task has draws of its own, and another number whenever the program is run: of these only
            # what does not depend on them can be known.
            value = (0.25, 1.0, 0.5)[which]
            self.make(
                out,
                lambda world, _: (
                    world.sure_draw(which, shape, dtype)
                    if isinstance(world, OwlWorld)
                    else world.full(shape, value, dtype)
                ),
                dtype=dtype,
            )
            return
        # The same draw of the same seed as the program's, by itself: in whatever plan the other comes to lie.
        values = OwlWorld().draw(which, shape, dtype).to_numpy().astype(np.float64)
        step = Step("make", call=lambda world, _: world.draw(which, shape, dtype))
        self.enter(out, step, values, values, False, dtype)

    # ------------------------------------------------------------------------------------------------------ operations

    def _unary(self, out: list[Step], s: Statement) -> None:
        name, x = UNARY[s.a % len(UNARY)], self.pick(s.b)
        dimensions = len(self.shape(x))
        if (name in ("softmax", "channels") and dimensions < 2) or (name == "backwards" and not dimensions):
            return
        other = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.float32}
        dtype = other[np.dtype(self.book.dtypes[x])] if name == "cast" else None
        self.make(out, lambda world, v: world.unary(name, v[0]), (x,), dtype=dtype)

    def _binary(self, out: list[Step], s: Statement) -> None:
        name, x = BINARY[s.a % len(BINARY)], self.pick(s.b)
        y = self.partner(name, x, s.c)
        if y is not None:
            self.make(out, lambda world, v: world.binary(name, v[0], v[1]), (x, y), name in STEPS)

    def _gradient(self, out: list[Step], s: Statement) -> None:
        name, x = GRADIENTS[s.a % len(GRADIENTS)], self.pick(s.b)
        y = self.partner("same", x, s.c)
        if y is not None and len(self.shape(x)) >= (2 if name == "softmax" else 1):
            self.make(out, lambda world, v: world.gradient(name, *v), (x, y), dtype=self.book.dtypes[x])

    def _ternary(self, out: list[Step], s: Statement) -> None:
        name, x = TERNARY[s.a % len(TERNARY)], self.pick(s.b)
        y, z = self.partner("same", x, s.c), self.partner("same", x, s.a)
        if y is not None and z is not None:
            self.make(out, lambda world, v: world.ternary(name, *v), (x, y, z), name in STEPS)

    def _number(self, out: list[Step], s: Statement) -> None:
        which, value = s.a % 4, (s.c % 7 + 1) / 4
        self.make(out, lambda world, x: world.number(x[0], which, value), (self.pick(s.b),))

    def _reduce(self, out: list[Step], s: Statement) -> None:
        name, x = REDUCTIONS[s.a % len(REDUCTIONS)], self.pick(s.b)
        dimensions = len(self.shape(x))
        if not dimensions:
            return
        axes = [s.c % dimensions]
        if s.c >= 16 and name != "argmax":
            axes += [axis for axis in range(dimensions) if axis not in axes and s.c >> axis & 1]
        self.make(out, lambda world, v: world.reduce(name, v[0], axes), (x,), name in STEPS)

    def _slice(self, out: list[Step], s: Statement) -> None:
        x = self.pick(s.a)
        if not self.shape(x):
            return
        axis = s.c % len(self.shape(x))
        length = self.shape(x)[axis]
        start = s.b % length
        count = 1 + (s.c // 2) % (length - start)
        self.make(out, lambda world, v: world.slice(v[0], axis, start, count), (x,))

    def _item(self, out: list[Step], s: Statement) -> None:
        x = self.pick(s.a)
        key: list[Any] = []
        for d, length in enumerate(self.shape(x)):
            way = (s.b + s.c * d) % 5
            key.append((slice(None), slice(None, None, -1), slice(s.c % length, None), slice(None, None, 2), -1)[way])
        self.make(out, lambda world, v: world.item(v[0], tuple(key)), (x,))

    def _arrange(self, out: list[Step], s: Statement) -> None:
        x = self.pick(s.a)
        shape = self.shape(x)
        if s.b % 2:
            order = np.argsort(_numbers(s.b, s.c).random(len(shape))).tolist()
            self.make(out, lambda world, v: world.permute(v[0], order), (x,))
            return
        size = int(np.prod(shape))
        part = next(k for k in (8, 6, 5, 4, 3, 2, 1) if size % k == 0)
        choices = (
            [size],
            [1, size],
            [size // part, part],
            [part, 1, size // part],
            [1, part, size // part, 1],
            shape[::-1],
        )
        self.make(out, lambda world, v: world.reshape(v[0], list(choices[s.c % 6])), (x,))

    def _concat(self, out: list[Step], s: Statement) -> None:
        x = self.pick(s.a)
        shape = self.shape(x)
        if not shape:
            return
        axis = s.c % len(shape)
        fitting = [
            y
            for y in self.named
            if len(self.shape(y)) == len(shape)
            and all(p == q or d == axis for d, (p, q) in enumerate(zip(shape, self.shape(y))))
            and self.book.dtypes[y] == self.book.dtypes[x]
        ]
        others = [fitting[(s.b + k) % len(fitting)] for k in range(1 if s.c < 24 else 8)]
        arrays = (x, *others)
        if shape[axis] <= 200 and sum(self.book.exact[y].size for y in arrays) <= MOST // 4:
            self.make(out, lambda world, v: world.concat(v, axis), arrays)

    def _many(self, out: list[Step], s: Statement) -> None:
        x = self.pick(s.a)
        fitting = [y for y in self.named if self.fits("same", x, y)]
        arrays = [fitting[(s.b + k * s.c) % len(fitting)] for k in range(3 + s.c)]
        self.make(out, lambda world, v: world.total(v), arrays)

    def _chain(self, out: list[Step], s: Statement) -> None:
        x = self.pick(s.a)
        for k in range(17 + s.c % 8):
            name, last = CHAIN[(s.b + k * (2 * s.a + 1)) % len(CHAIN)], x
            x = self.make(out, lambda world, v, name=name: world.unary(name, v[0]), (x,))  # type: ignore[misc]
            if k:
                self.drop(out, last)

    def _net(self, out: list[Step], s: Statement) -> None:
        name = NETS[s.a % len(NETS)]
        images = [x for x in self.named if len(self.shape(x)) == 4 and min(self.shape(x)[:2]) >= 3]
        if images:
            x = images[s.b % len(images)]
        else:
            shape = (3 + s.a % 5, 3 + s.b % 6, 1 + s.c % 4, 1 + s.a // 8)
            values = _numbers(s.a, s.b, s.c, 2).uniform(-1, 1, shape[::-1]).astype(np.float32)
            x = self.make(out, lambda world, _: world.leaf(values, False), dtype=np.float32)
        channels = self.shape(x)[2]
        if self.book.exact[x].size * channels > MOST // 4:
            return
        kernel, pad, stride = (3, 1, 2, 3)[s.b % 4], s.c % 2, 1 + s.c // 2 % 2
        groups = channels if s.c >= 24 else 1
        shape = (groups * (1 + s.c // 4 % 4), channels // groups, kernel, kernel)
        filters = _numbers(s.a, s.b, s.c, 3).uniform(-0.4, 0.4, shape)
        dtype = np.dtype(self.book.dtypes[x])
        filters = filters.astype(dtype)
        w = self.make(out, lambda world, _: world.leaf(filters, False), dtype=dtype)
        self.make(out, lambda world, v: world.net(name, v[0], v[1], pad, stride), (x, w), name in STEPS)
        self.drop(out, w)

    def _update(self, out: list[Step], s: Statement) -> None:
        x = self.pick(s.a)
        y = self.partner("same", x, s.b)
        if x in self.fixed or y is None:
            return
        way, scale = (0, 0, 1, 2)[s.b // 8], (s.c % 5 + 1) / 8

        def call(world: Any, v: list[Any]) -> Any:
            if way == 2:
                return world.number(v[0], 1, scale)
            return world.binary("add" if way else "sub", v[0], world.number(v[1], 1, scale))

        value, rounded = self.book.compute(call, (x, y))
        if self.book.large(value):
            return
        out.append(Step("update", x, inputs=(x, y), way=way, number=scale))
        self.book.put(x, value, rounded, self.book.dtypes[x])
        if y in self.book.rough and way != 2:
            self.book.rough.add(x)

    # ----------------------------------------------------------------------------------------------- names and handles

    def _name(self, out: list[Step], s: Statement) -> None:
        self.named.append(self.pick(s.a))  # a second name for the same array

    def _drop(self, out: list[Step], s: Statement) -> None:
        self.drop(out, self.pick(s.a), way=s.b % 4 == 3)

    def _keep(self, out: list[Step], s: Statement) -> None:
        x = self.pick(s.a)
        out.append(Step("keep", x, way=s.b % 2))
        # A copy keeps the value of now; another name of the array sees its updates.
        self.book.kept.append(x if s.b % 2 else self.book.seen(x))

    def _cycle(self, out: list[Step], s: Statement) -> None:
        out.append(Step("cycle", self.pick(s.a)))

    def _stash(self, out: list[Step], s: Statement) -> None:
        if len(self.stashed) < 6:
            self.stashed.append(self.pick(s.a))

    def _recall(self, out: list[Step], s: Statement) -> None:
        if self.stashed:
            x = self.stashed[s.a % len(self.stashed)]
            self.make(out, lambda world, v: world.unary("sigm", v[0]), (x,))

    # ----------------------------------------------------------------------------------------------------------- demand

    def _look(self, out: list[Step], s: Statement) -> None:
        x, way = self.pick(s.a), (s.b // 4 if s.b >= 24 else 0)
        out.append(Step("look", x, way=way))
        seen = self.book.seen(x)
        seen.sure = seen.sure and way == 0
        self.book.looks.append(seen)

    def _peek(self, out: list[Step], s: Statement) -> None:
        """Looks at what is computed from a value that is still named: it may be left recorded until somebody asks."""
        x = max(dict.fromkeys(self.named), key=lambda y: self.book.exact[y].size)
        y = self.make(out, lambda world, v: world.unary(CHAIN[s.a % 8], v[0]), (x,))
        z = self.make(out, lambda world, v: world.number(v[0], s.b % 4, 0.75), (y,))
        out.append(Step("look", z))
        self.book.looks.append(self.book.seen(z))

    def _start(self, out: list[Step], s: Statement) -> None:
        out.append(Step("start", self.pick(s.a)))

    def _await(self, out: list[Step], s: Statement) -> None:
        x, y, way = self.pick(s.a), self.pick(s.b), s.c % 7
        out.append(Step("await", x, inputs=(x, y), way=way))
        if way in (0, 3, 4):
            self.book.looks.append(self.book.seen(x))

    def _wait(self, out: list[Step], s: Statement) -> None:
        out.append(Step("wait"))

    # ----------------------------------------------------------------------------------------------------- what happens

    def _device(self, out: list[Step], s: Statement) -> None:
        out.append(Step("device", s.a % 2))

    def _team(self, out: list[Step], s: Statement) -> None:
        out.append(Step("team", way=1 + s.a % 3))

    def _collect(self, out: list[Step], s: Statement) -> None:
        out.append(Step("collect"))

    def _error(self, out: list[Step], s: Statement) -> None:
        out.append(Step("error", self.pick(s.a), way=s.b % 4, number=s.c % 2))

    # ----------------------------------------------------------------------------------------------------------- blocks

    def _loop(self, out: list[Step], s: Statement) -> None:
        for _ in range(1 + s.a % 12 if s.a < 28 else 20 + s.b % 8):
            out += self.write(s.body)
            while len(self.named) > NAMES:
                self.drop(out, self.named[0])

    def _branch(self, out: list[Step], s: Statement) -> None:
        x = self.pick(s.a)
        self._look(out, s)
        if self.book.exact[x].sum() > 0:
            out += self.write(s.body)

    def _strands(self, kind: str, out: list[Step], s: Statement) -> None:
        outer = frozenset([*self.named, *self.stashed])
        strands = []
        made: list[int] = []
        for _ in range(2):
            inner = Writer(self.book, list(dict.fromkeys(self.named)), self.stashed, outer, True)
            strands.append(tuple(inner.write(s.body)))
            made += [x for x in inner.named if x not in outer]
        out.append(Step(kind, strands=tuple(strands)))
        self.named += made

    def _threads(self, out: list[Step], s: Statement) -> None:
        self._strands("threads", out, s)

    def _tasks(self, out: list[Step], s: Statement) -> None:
        self._strands("tasks", out, s)


def traced(program: Sequence[Statement], seed: int) -> tuple[list[Step], Writer]:
    """The steps of a program, and their writer; the program must be run with the same seed of owl's random numbers."""
    owl.seed(seed)
    writer = Writer()
    return writer.write(program), writer
