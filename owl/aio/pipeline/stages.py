"""What a pipeline declares: one immutable record per stage, with no behaviour at run time."""

from __future__ import annotations

import functools
import inspect
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from owl._runtime import OwlTypeError, OwlValueError
from owl.aio.pipeline.errors import PipelineError

ON_ERROR = ("raise", "skip", "retry")
EXECUTORS = ("thread", "process", "task")


@dataclass(frozen=True, slots=True)
class Source:
    """Where items come from."""

    origin: Any
    concurrency: int
    name: ClassVar[str] = "source"

    def describe(self) -> str:
        return f"{name_of(self.origin)}, {source_kind(self.origin)}"

    def identity(self) -> str:
        kind = source_kind(self.origin)
        length = f" of {len(self.origin)} items" if kind == "map-style" else ""
        return f"source {kind}{length}"


@dataclass(frozen=True, slots=True)
class Shuffle:
    """The order of an epoch."""

    seed: int
    buffer: int
    name: ClassVar[str] = "shuffle"

    def describe(self) -> str:
        return f"seed {self.seed}"

    def identity(self) -> str:
        return f"shuffle(seed={self.seed}, buffer={self.buffer})"


@dataclass(frozen=True, slots=True)
class Map:
    """A function of each item."""

    fn: Callable[..., Any]
    concurrency: int
    ordered: bool
    executor: str
    on_error: str
    retries: int
    max_skips: int
    timeout: float | None
    name: str
    takes_rng: bool

    def describe(self) -> str:
        parts = [f"{self.concurrency} {self.executor}{'s' if self.concurrency > 1 else ''}"]
        if self.executor == "process" and self.concurrency > 1:
            parts = [f"{self.concurrency} processes"]
        if not self.ordered:
            parts.append("unordered")
        if self.on_error != "raise":
            bound = self.retries if self.on_error == "retry" else self.max_skips
            parts.append(f"on error {self.on_error}, at most {bound}")
        if self.timeout is not None:
            parts.append(f"timeout {self.timeout:g} s")
        return ", ".join(parts)

    def identity(self) -> str:
        return f"map({name_of(self.fn)}, on_error={self.on_error!r})"


@dataclass(frozen=True, slots=True)
class Batch:
    """Groups of items."""

    size: int
    drop_last: bool
    collate: Callable[[list], Any]
    name: ClassVar[str] = "batch"

    def describe(self) -> str:
        return f"{self.size}{', drop last' if self.drop_last else ''}"

    def identity(self) -> str:
        return f"batch({self.size}, drop_last={self.drop_last})"


@dataclass(frozen=True, slots=True)
class ToDevice:
    """Copies to staging buffers, and arrays from them."""

    device: Any
    name: ClassVar[str] = "to_device"

    def describe(self) -> str:
        return "current device" if self.device is None else f"device {self.device}"

    def identity(self) -> None:
        """Where batches go does not change which ones there are."""


@dataclass(frozen=True, slots=True)
class Prefetch:
    """How many items may wait at this place."""

    n: int
    name: ClassVar[str] = "prefetch"

    def describe(self) -> str:
        return f"{self.n}"

    def identity(self) -> None:
        """How far loading runs ahead does not change what is loaded."""


def source_kind(origin: Any) -> str:
    """``async``, ``map-style``, ``iterable`` or ``factory``. Raises TypeError for anything else."""
    if isinstance(origin, type):
        return "factory"
    if hasattr(origin, "__aiter__"):
        return "async"
    if isinstance(origin, Mapping):
        raise OwlTypeError("a mapping is no source: give its values, its items, or a sequence")
    if hasattr(origin, "__len__") and hasattr(origin, "__getitem__"):
        return "map-style"
    if hasattr(origin, "__iter__"):
        return "iterable"
    if callable(origin):
        return "factory"
    raise OwlTypeError(
        f"a source is an iterable, an async iterable, map-style (__len__ and __getitem__), or a factory of one; "
        f"not {type(origin).__name__}"
    )


def is_coroutine_function(fn: Any) -> bool:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def takes_rng(fn: Callable[..., Any]) -> bool:
    """Whether a function has a parameter named ``rng``."""
    try:
        return "rng" in inspect.signature(fn).parameters
    except (TypeError, ValueError):  # some functions written in C tell nothing
        return False


def choose_executor(fn: Callable[..., Any], executor: str | None, stage: str) -> str:
    """The executor asked for, or the one that suits the function. Raises where they do not go together."""
    coroutine = is_coroutine_function(fn)
    chosen = executor or ("task" if coroutine else "thread")
    if chosen not in EXECUTORS:
        raise OwlValueError(f"stage {stage!r}: executor must be one of {EXECUTORS}, not {executor!r}")
    if coroutine != (chosen == "task"):
        what = "a coroutine function runs in tasks" if coroutine else "a plain function cannot run in tasks"
        raise OwlTypeError(f"stage {stage!r}: {what}, so executor={executor!r} does not suit it")
    if chosen == "process":
        try:
            pickle.dumps(fn)
        except Exception as error:
            raise PipelineError(
                f"stage {stage!r}: {name_of(fn)} cannot be pickled, as executor='process' needs: {error}", stage=stage
            ) from error
    return chosen


def name_of(thing: Any) -> str:
    while isinstance(thing, functools.partial):
        thing = thing.func
    return getattr(thing, "__name__", type(thing).__name__)


def positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OwlValueError(f"{name} must be an integer of at least 1, not {value!r}")
    return value
