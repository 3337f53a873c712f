"""What a program comes to: a list of steps without branches or loops, and the values that ought to be seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from owl.testing.fuzz.worlds import NumpyWorld

LARGE = 1e3  # a value beyond it goes through tanh, so that float32 can follow float64
MOST = 50000  # elements of a result; what would have more is left out

Call = Callable[[Any, list[Any]], Any]


@dataclass
class Step:
    """What a statement came to. Arrays are numbered as they are made; `update` points one at a new value.

    `way` says which of several ways to do the same, and `call` computes in either world from the inputs' values.
    """

    kind: str
    target: int = 0
    call: Call | None = None
    inputs: tuple[int, ...] = ()
    way: int = 0
    number: float = 0.0
    strands: tuple[tuple[Step, ...], ...] = ()


@dataclass
class Seen:
    """What NumPy says of a value that a program shows."""

    value: np.ndarray
    sure: bool  # or only bits can be compared, between two settings
    slack: float  # how far float32 strays from it by rounding

    def check(self, found: np.ndarray) -> None:
        if self.sure:
            scale = max(1.0, float(np.abs(self.value).max(initial=0)))
            allowed = 1e-3 * scale + 100 * self.slack
            off = np.abs(found - self.value).max(initial=0) if found.shape == self.value.shape else np.inf
            assert off <= allowed, f"against NumPy: off by {off}, of which {allowed} are allowed, of {self.value.shape}"


@dataclass
class Book:
    """All arrays of a program, by number: in float64, and as they are when each result is rounded to float32."""

    exact: dict[int, np.ndarray] = field(default_factory=dict)
    rounded: dict[int, np.ndarray] = field(default_factory=dict)
    dtypes: dict[int, Any] = field(default_factory=dict)
    rough: set[int] = field(default_factory=set)  # only bits can be compared
    live: set[int] = field(default_factory=set)
    looks: list[Seen] = field(default_factory=list)
    kept: list[Seen | int] = field(default_factory=list)  # what is looked at in the end: a value, or an array's last
    counter: int = 0
    world: NumpyWorld = field(default_factory=NumpyWorld)

    def seen(self, x: int) -> Seen:
        value = self.exact[x]
        with np.errstate(all="ignore"):
            slack = float(np.abs(self.rounded[x] - value).max(initial=0))
            sure = x not in self.rough and bool(np.abs(value).max(initial=0) < LARGE) and slack < LARGE
        return Seen(value, sure, slack)

    def at_the_end(self) -> list[Seen]:
        kept = [self.seen(x) if isinstance(x, int) else x for x in self.kept]
        return self.looks + [self.seen(x) for x in sorted(self.live)] + kept

    def put(self, x: int, value: np.ndarray, rounded: np.ndarray, dtype: Any) -> None:
        self.exact[x], self.dtypes[x] = value, dtype
        with np.errstate(all="ignore"):
            self.rounded[x] = rounded.astype(dtype).astype(np.float64)

    def compute(self, call: Call, inputs: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            exact, rounded = (call(self.world, [values[i] for i in inputs]) for values in (self.exact, self.rounded))
            return exact, rounded

    def large(self, value: np.ndarray) -> bool:
        return bool(value.size) and not np.abs(value).max() < LARGE


@dataclass
class Tracer:
    """Names arrays, and chooses among them those that fit."""

    book: Book = field(default_factory=Book)
    named: list[int] = field(default_factory=list)
    stashed: list[int] = field(default_factory=list)  # kept apart for much later
    fixed: frozenset[int] = frozenset()  # not to be updated or dropped: others read it at the same time
    strand: bool = False  # a thread or task, not the program itself

    def shape(self, x: int) -> tuple[int, ...]:
        """Owl's shape, not NumPy's."""
        return self.book.exact[x].shape[::-1]

    def pick(self, number: int) -> int:
        return self.named[number % len(self.named)]

    def make(
        self, out: list[Step], call: Call, inputs: Sequence[int] = (), rough: bool = False, dtype: Any = None
    ) -> int:
        book = self.book
        if dtype is None:
            dtype = np.result_type(*(book.dtypes[i] for i in inputs))
        value, rounded = book.compute(call, inputs)
        return self.enter(out, Step("make", 0, call, tuple(inputs)), value, rounded, rough, dtype)

    def enter(
        self, out: list[Step], step: Step, value: np.ndarray, rounded: np.ndarray, rough: bool, dtype: Any
    ) -> int:
        """Gives the step's result a number and a name; returns the number of what is named."""
        book = self.book
        target = step.target = book.counter
        book.counter += 1
        out.append(step)
        book.put(target, value, rounded, dtype)
        book.live.add(target)
        if rough or any(i in book.rough for i in step.inputs):
            book.rough.add(target)
        if book.large(value):
            return self.make(out, lambda world, x: world.unary("tanh", x[0]), (target,), rough=True)
        self.named.append(target)
        return target

    def drop(self, out: list[Step], x: int, way: int = 0) -> None:
        """Takes away one name, and the array with its last."""
        self.named.remove(x)
        if x not in self.named and x not in self.fixed and x not in self.stashed:
            out.append(Step("drop", x, way=way))
            self.book.live.discard(x)

    def partner(self, name: str, x: int, number: int) -> int | None:
        """An array that fits `x` as the right operand, the first from `number` on."""
        for k in range(len(self.named)):
            y = self.pick(number + k)
            if self.fits(name, x, y):
                return y
        return None

    def fits(self, name: str, x: int, y: int) -> bool:
        left, right = self.shape(x), self.shape(y)
        if name.startswith("matmul"):
            if len(left) != 2 or len(right) != 2 or self.book.dtypes[x] != self.book.dtypes[y]:
                return False
            rows, inner = left[::-1] if name == "matmul_tn" else left
            other, columns = right[::-1] if name == "matmul_nt" else right
            return inner == other and rows * columns <= MOST
        if name in ("same", "softmax_back"):  # the second is written with sums over dimensions
            same = left == right and self.book.dtypes[x] == self.book.dtypes[y]
            return same and (name == "same" or len(left) >= 2)
        if len(left) != len(right):
            return False
        if name in ("relu_back", "sigm_back", "tanh_back"):
            return left == right
        pairs = list(zip(left, right))
        return all(p == q or 1 in (p, q) for p, q in pairs) and math.prod(max(pair) for pair in pairs) <= MOST
