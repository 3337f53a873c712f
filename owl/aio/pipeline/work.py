"""Running a stage's function over the items of a chunk, with its rules for errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import CoroutineType
from typing import Any

from owl._runtime import find_type
from owl.aio.pipeline.chunk import Chunk
from owl.aio.pipeline.errors import ItemFailure
from owl.aio.pipeline.rng import item_rng

_CANCEL_SECONDS = 0.3


@dataclass(slots=True)
class Outcome:
    """Results of a chunk, in order, up to the first fatal failure.

    ``kept`` gives the index in the chunk of each result, or is None when it is a prefix; ``seconds`` is time spent in
    the function.
    """

    values: list = field(default_factory=list)
    kept: list[int] | None = None
    skipped: list[tuple[int, ItemFailure]] = field(default_factory=list)
    failure: ItemFailure | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Work:
    """A function and how it is to be applied: immutable, and picklable when the function is.

    ``many``, if there is one, gives the function's results for many items at once. It may be called in its place where
    that makes no difference; when it raises, items are taken one by one.
    """

    fn: Callable[..., Any]
    takes_rng: bool = False
    seed: int = 0
    epoch: int = 0
    salt: int = 0
    on_error: str = "raise"
    retries: int = 0
    timeout: float | None = None
    many: Callable[[list], list] | None = None

    def run(self, keys: Sequence, values: list, begin: Callable[[int], None] | None = None) -> Outcome:
        """Applies a plain function; ``begin`` hears of each index before its item. Never raises."""
        started = time.perf_counter()
        outcome = Outcome()
        results = outcome.values
        error = None
        if begin is None:
            fn = self.fn
            if self.many is not None and values:
                with suppress(Exception):
                    results = outcome.values = self.many(values)
            if not results:
                try:
                    if self.takes_rng:
                        for key, value in zip(keys, values, strict=True):
                            results.append(fn(value, rng=item_rng(self.seed, self.epoch, key, self.salt)))
                    else:
                        for value in values:
                            results.append(fn(value))
                except BaseException as caught:
                    error = caught
        at = len(results)
        while at < len(values):
            if begin is not None and error is None:
                begin(at)
            result = self._attempt(keys[at], values[at], error)
            error = None
            if not _note(self, outcome, at, result):
                break
            at += 1
        # What lies in a list was put there by hand: only functions are looked after.
        if self.many is None and find_type(results, CoroutineType) >= 0:
            _refuse_coroutines(outcome, keys)
        outcome.seconds = time.perf_counter() - started
        return outcome

    async def run_async(self, keys: Sequence, values: list, stopping: Callable[[], bool]) -> Outcome:
        """Applies a coroutine function, one item after the other. Raises CancelledError when stopping, else nothing."""
        started = time.perf_counter()
        outcome = Outcome()
        for at, value in enumerate(values):
            result = await self._attempt_async(keys[at], value, stopping)
            if not _note(self, outcome, at, result):
                break
        outcome.seconds = time.perf_counter() - started
        return outcome

    def failed(self, failure: ItemFailure) -> Outcome:
        """The outcome of a chunk of one item that failed outside of the function."""
        outcome = Outcome()
        _note(self, outcome, 0, failure)
        return outcome

    def _arguments(self, key: Any) -> dict[str, Any]:
        return {"rng": item_rng(self.seed, self.epoch, key, self.salt)} if self.takes_rng else {}

    def _attempt(self, key: Any, value: Any, error: BaseException | None) -> Any:
        """The result, or an ItemFailure; ``error`` is the first attempt's where that was made already."""
        attempts = 0
        while True:
            if error is None:
                try:
                    return self.fn(value, **self._arguments(key))
                except BaseException as caught:
                    error = caught
            attempts += 1
            if attempts > self.allowed_retries:
                return ItemFailure(key, error, attempts)
            error = None

    async def _attempt_async(self, key: Any, value: Any, stopping: Callable[[], bool]) -> Any:
        attempts = 0
        while True:
            try:
                coroutine = self.fn(value, **self._arguments(key))
                return await (coroutine if self.timeout is None else _within(self.timeout, coroutine))
            except BaseException as caught:
                # A function may raise CancelledError of its own accord, which fails its item and not the stage.
                if stopping() and isinstance(caught, asyncio.CancelledError):
                    raise
                error = caught
            attempts += 1
            if attempts > self.allowed_retries:
                return ItemFailure(key, error, attempts)

    @property
    def allowed_retries(self) -> int:
        return self.retries if self.on_error == "retry" else 0


def assemble(chunk: Chunk, outcome: Outcome, skipped: int, max_skips: int) -> tuple[Chunk, ItemFailure | None, int]:
    """The chunk that goes on, what ends the run after it, and how many of its items were skipped.

    ``skipped`` is how many items the stage has skipped before.
    """
    keys, marks, values = chunk.keys, chunk.marks, outcome.values
    failure = outcome.failure
    lost = chunk.skipped
    given_up = 0
    if outcome.kept is not None:
        keys, marks = [keys[i] for i in outcome.kept], [marks[i] for i in outcome.kept]
    elif len(values) < len(keys):
        keys, marks = keys[: len(values)], marks[: len(values)]
    for at, skip in outcome.skipped:
        given_up += 1
        if skipped + given_up > max_skips:
            # Results after the item that broke the bound would be out of order: they are not delivered.
            ahead = sum(1 for i in outcome.kept if i < at) if outcome.kept is not None else 0
            keys, marks, values, failure = keys[:ahead], marks[:ahead], values[:ahead], skip
            failure.bound = f", beyond the {max_skips} items that may be skipped"
            break
        lost = [*lost, chunk.marks[at]]
    return Chunk(keys, marks, values, lost), failure, given_up


async def _within(seconds: float, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The coroutine's result. Raises TimeoutError soon after the time has passed, even if it resists cancelling."""
    task = asyncio.ensure_future(coroutine)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if done:
            return task.result()
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
        raise TimeoutError(f"no result within {seconds} s")
    finally:
        task.cancel()


def _note(work: Work, outcome: Outcome, at: int, result: Any) -> bool:
    """Enters one result; False when the chunk ends here."""
    if not isinstance(result, ItemFailure):
        if outcome.kept is not None:
            outcome.kept.append(at)
        outcome.values.append(result)
    elif work.on_error == "skip":
        if outcome.kept is None:
            outcome.kept = list(range(len(outcome.values)))
        outcome.skipped.append((at, result))
    else:
        outcome.failure = result
        return False
    return True


def _refuse_coroutines(outcome: Outcome, keys: Sequence) -> None:
    at = next(i for i, result in enumerate(outcome.values) if isinstance(result, CoroutineType))
    for result in outcome.values:
        if isinstance(result, CoroutineType):
            result.close()
    index = at if outcome.kept is None else outcome.kept[at]
    error = TypeError("a plain function returned a coroutine; pass the coroutine function itself")
    del outcome.values[at:]
    outcome.failure = ItemFailure(keys[index], error)
