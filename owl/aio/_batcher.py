"""Gathering requests that come one by one into batches."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from itertools import islice
from typing import Generic, TypeVar

from owl import OwlError
from owl.aio._arguments import seconds, whole_number

T = TypeVar("T")
R = TypeVar("R")


class BatcherError(OwlError, RuntimeError):
    """An item without a result: the Batcher was closed, or its function gave no result or was cancelled."""


class Batcher(Generic[T, R]):
    """Calls a function with many items at a time, on behalf of callers that have one each.

    ``await batcher(item)`` gives the result for that item. A batch goes off when it is full or when its first item has
    waited for `max_delay`; while `max_running` batches are under way, the items that arrive gather for the next.
    Cancelling a caller that still waits takes its item out; one whose batch has begun is left without its result, and
    the others have theirs. Belongs to one event loop. A context manager: ``async with`` ends with `aclose`. If that is
    cancelled, so are the batches under way, and their callers have a `BatcherError`.

    Parameters
    ----------
    fn : callable
        Takes a list of items and returns as many results in the same order, itself or as a coroutine: a sequence, an
        array or an iterator, but no mapping, set or string. An exception goes to all callers of that batch, a copy for
        each; a CancelledError of its own reaches them as a `BatcherError`. It runs in the context in which the Batcher
        was made: its current device is the one of that time.
    max_batch : int
        Items in a batch at most.
    max_delay : float
        Seconds that an item waits for others.
    max_running : int
        Batches under way at a time: 2 keep a device busy while the next batch is recorded.

    Examples
    --------
    >>> import asyncio
    >>> async def main():
    ...     fn = lambda items: [item * 2 for item in items]
    ...     async with owl.aio.Batcher(fn, max_batch=3, max_delay=0.1) as double:
    ...         return await asyncio.gather(double(1), double(2), double(3))
    >>> asyncio.run(main())
    [2, 4, 6]
    """

    def __init__(
        self,
        fn: Callable[[list[T]], Iterable[R] | Awaitable[Iterable[R]]],
        max_batch: int = 64,
        max_delay: float = 0.002,
        *,
        max_running: int = 2,
    ) -> None:
        self.max_batch = whole_number(max_batch, 1, "max_batch", "Batcher")
        self.max_delay = seconds(max_delay, "max_delay", "Batcher")
        self.max_running = whole_number(max_running, 1, "max_running", "Batcher")
        self._fn = fn
        self._context = contextvars.copy_context()
        self._waiting: dict[asyncio.Future[R], T] = {}  # in the order of arrival
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = False  # the first item has waited long enough
        self._closed = False

    async def __call__(self, item: T) -> R:
        """The function's result for `item`. Raises `BatcherError` after `aclose`."""
        if self._closed:
            raise BatcherError("[Batcher] it is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting[future] = item
        if self._timer is None and not self._due:
            self._timer = loop.call_later(self.max_delay, self._delay_over)
        if len(self._waiting) >= self.max_batch:
            self._launch()
        try:
            return await future
        finally:
            self._waiting.pop(future, None)  # cancelled

    def _delay_over(self) -> None:
        self._timer = None
        self._due = True
        self._launch()

    def _launch(self) -> None:
        """Sends off what may go: full batches, and a part of one that has waited long enough."""
        while self._waiting and len(self._running) < self.max_running:
            if not (self._due or self._closed or len(self._waiting) >= self.max_batch):
                return
            futures = list(islice(self._waiting, self.max_batch))
            items = [self._waiting.pop(future) for future in futures]
            self._restart_timer()
            task = self._context.run(asyncio.ensure_future, self._compute(items, futures))
            self._running.add(task)
            task.add_done_callback(self._batch_over)

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = False
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(self.max_delay, self._delay_over)

    def _batch_over(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._launch()

    async def _compute(self, items: list[T], futures: list[asyncio.Future[R]]) -> None:
        try:
            results = self._fn(items)
            if inspect.isawaitable(results):
                results = await results
            results = _results_for(futures, results)
        except asyncio.CancelledError as error:
            # The callers have not been cancelled: those that have do not wait any more.
            _fail(futures, BatcherError("[Batcher] its function was cancelled"), error)
            if self._closed:
                raise
        except Exception as error:
            _fail(futures, error)
        except BaseException as error:  # it ends the event loop
            _fail(futures, BatcherError(f"[Batcher] its function ended with {type(error).__name__}"), error)
            raise
        else:
            for future, result in zip(futures, results):
                if not future.done():
                    future.set_result(result)

    async def aclose(self) -> None:
        """Takes no more items, and returns when all that were taken have been answered.

        Cancelled, it cancels the batches under way, and ends when they have.
        """
        self._closed = True
        self._launch()
        try:
            await self._all_over()
        except asyncio.CancelledError:
            waiting, self._waiting = list(self._waiting), {}
            _fail(waiting, BatcherError("[Batcher] it was closed before this item's turn came"))
            for task in self._running:
                task.cancel()
            await self._all_over()
            raise

    async def _all_over(self) -> None:
        while self._running:
            await asyncio.wait(set(self._running))  # what is left is launched before this wakes up

    async def __aenter__(self) -> Batcher[T, R]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _results_for(futures: list[asyncio.Future[R]], results: Iterable[R]) -> list[R]:
    """As many results as there are items; raises whatever iterating raises."""
    if isinstance(results, (Mapping, Set, str, bytes)):
        raise BatcherError(f"[Batcher] its function gave a {type(results).__name__}, which has no results in order")
    given = list(islice(results, len(futures) + 1))
    if len(given) != len(futures):
        count = f"{len(given)} results" if len(given) < len(futures) else f"more than {len(futures)} results"
        raise BatcherError(f"[Batcher] its function gave {count} for {len(futures)} items")
    return given


def _fail(futures: Iterable[asyncio.Future[R]], error: Exception, cause: BaseException | None = None) -> None:
    if isinstance(error, StopIteration):  # which no future takes
        error, cause = BatcherError("[Batcher] its function raised StopIteration"), error
    for future in futures:
        if not future.done():
            own = _copy_of(error)
            own.__cause__ = cause or error.__cause__
            future.set_exception(own)


def _copy_of(error: Exception) -> Exception:
    """An exception for one waiter, since raising adds to an exception's traceback."""
    try:
        own = copy.copy(error)
    except Exception:
        return error
    if not isinstance(own, type(error)):  # its class copies in a way of its own
        return error
    return own.with_traceback(error.__traceback__)
