"""Reading a source: positions and keys of an epoch, and the items of streams."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import aclosing, nullcontext
from functools import partial
from typing import Any

from owl._runtime import OwlValueError, take_items
from owl.aio.pipeline.channel import Channel, ThreadChannel, call_soon
from owl.aio.pipeline.chunk import Chunk
from owl.aio.pipeline.errors import ItemFailure
from owl.aio.pipeline.pace import GO_SECONDS, TARGET_SECONDS, Pace
from owl.aio.pipeline.rng import ShuffleBuffer, shuffle_rng
from owl.aio.pipeline.stages import Shuffle
from owl.aio.pipeline.state import Ledger
from owl.aio.pipeline.stats import Meter
from owl.aio.pipeline.work import Outcome, Work
from owl.aio.pipeline.workers import Job, ThreadWorkers

_ENDED = None  # in place of a number of items read
_DIRECTLY = 0  # in place of a number of items to read


class IndexSupply:
    """The indices of a map-style source, in the order of the epoch, without those delivered already."""

    def __init__(self, length: int, shuffle: Shuffle | None, epoch: int, delivered: Ledger) -> None:
        if not length:
            raise OwlValueError("the source is empty")
        self._order = None if shuffle is None else shuffle_rng(shuffle.seed, epoch).permutation(length)
        self._gaps = delivered.gaps(length)
        self._at = self._stop = 0
        self.items = length

    async def get(self, limit: int) -> Chunk | None:
        return self.pull(limit)

    def pull(self, limit: int) -> Chunk | None:
        """At most so many; None at the end. For one thread at a time."""
        if self._at == self._stop:
            gap = next(self._gaps, None)
            if gap is None:
                return None
            self._at, self._stop = gap
        start, self._at = self._at, min(self._stop, self._at + limit)
        marks = range(start, self._at)
        keys = marks if self._order is None else self._order[start : self._at].tolist()
        return Chunk(keys, marks, keys if type(keys) is list else list(keys))


def picker(origin: Any) -> Callable[[list], list] | None:
    """For a list or tuple, what takes many of its items at once; nobody can tell it from taking them one by one."""
    if type(origin) not in (list, tuple):
        return None
    return partial(take_items, origin)


class _Stream:
    """What streams have in common: shuffling in a buffer, counting positions, leaving out what was delivered."""

    def __init__(
        self,
        origin: Any,
        shuffle: Shuffle | None,
        epoch: int,
        delivered: Ledger,
        output: Channel | ThreadChannel,
        meter: Meter,
    ) -> None:
        self._origin = origin
        self._epoch = epoch
        self._buffer = None if shuffle is None else ShuffleBuffer(shuffle.buffer, shuffle_rng(shuffle.seed, epoch))
        self._delivered = delivered.copy()
        self._output = output
        self._meter = meter
        self._read = 0
        self._position = 0
        meter.output = output

    def _place(self, entry: tuple[int, Any]) -> tuple[int, int, Any] | None:
        """Key, position and value of the next item of the epoch; None when it was delivered before."""
        position, self._position = self._position, self._position + 1
        return None if position in self._delivered else (entry[0], position, entry[1])

    def _admit(self, value: Any) -> list[tuple[int, Any]]:
        entry, self._read = (self._read, value), self._read + 1
        return [entry] if self._buffer is None else self._buffer.push(entry)

    def _drain(self) -> list[tuple[int, Any]]:
        return [] if self._buffer is None else self._buffer.drain()

    def _failure(self, error: BaseException) -> BaseException:
        return ItemFailure(self._read, error).as_error(self._meter.name, self._epoch)

    def _check_empty(self) -> None:
        if not self._read:
            once = isinstance(self._origin, Iterator) or hasattr(self._origin, "__anext__")
            hint = "; an iterator serves one epoch only: give a factory of it" if once else ""
            raise OwlValueError(f"the source is empty{hint}")


class AsyncStream(_Stream):
    """Reads an async iterable, on the loop; each item goes on at once."""

    async def run(self) -> None:
        try:
            iterator = aiter(self._origin)
            async with aclosing(iterator) if hasattr(iterator, "aclose") else nullcontext():
                began = time.perf_counter()
                async for value in iterator:
                    self._meter.record(1, time.perf_counter() - began)
                    for entry in self._admit(value):
                        await self._put(entry)
                    began = time.perf_counter()
                self._check_empty()
                for entry in self._drain():
                    await self._put(entry)
        except Exception as error:
            self._output.close(self._failure(error))
        else:
            self._output.close()

    async def _put(self, entry: tuple[int, Any]) -> None:
        placed = self._place(entry)
        if placed is not None:
            key, position, value = placed
            began = time.perf_counter()
            await self._output.put(Chunk([key], [position], [value]))
            self._meter.blocked += time.perf_counter() - began

    async def stop(self, seconds: float, finished: bool) -> None:
        """Cancelling ``run`` closes the iterator."""

    def abandon(self) -> None:
        """Its iterator went with the loop."""


class ThreadStream(_Stream):
    """Reads an iterable in a thread of its own, some items at a time.

    Items that have arrived go on within a millisecond, also when the iterator then takes long for the next one.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._pace = Pace(1, self._output)
        self._reader = _Reader(self)
        self._pulled = asyncio.Event()
        self._workers = ThreadWorkers(self._meter.name, 1, Work(fn=iter), lambda: self._reader, self._on_done)

    async def run(self) -> None:
        # A second pull waits in line, so that the thread reads on while the loop passes on what came of the first.
        # Where an item takes longer than that, and the consumer is a thread, the reader puts items itself.
        jobs: deque[Job] = deque()
        while True:
            direct = isinstance(self._output, ThreadChannel) and self._pace.items == 1 and self._meter.items > 1
            while len(jobs) < (1 if direct else 2):
                jobs.append(Job(Chunk([self._read], [0], [_DIRECTLY if direct else self._pace.items])))
                self._workers.submit(jobs[-1])
            await self._wait(many=jobs[0].chunk.values[0] > 1)
            self._pulled.clear()
            outcome = jobs[0].outcome
            await self._flush()
            if outcome is None:
                continue
            jobs.popleft()
            if jobs and jobs[0].outcome is not None:
                self._pulled.set()
            if outcome.failure is not None:
                self._output.close(self._failure(outcome.failure.error))
                return
            if outcome.values[0] is _ENDED:
                self._output.close()
                return

    async def _wait(self, many: bool) -> None:
        """For the end of the pull, or, where that is of many items, a millisecond and something that has arrived."""
        timer = None
        if many:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(TARGET_SECONDS, self._look, partial(call_soon, loop, self._pulled.set))
        try:
            await self._pulled.wait()
        finally:
            if timer is not None:
                timer.cancel()
            self._reader.tell = None

    def _look(self, tell: Callable[[], object]) -> None:
        # Nothing has arrived where the thread began late. Asking comes before looking: one of the two sees the other.
        self._reader.tell = tell
        if self._reader.arrived:
            self._pulled.set()

    async def _flush(self) -> None:
        arrived = self._reader.arrived
        taken = arrived[:]
        del arrived[: len(taken)]  # the thread only appends, so these are the same ones
        if taken:
            keys, marks, values = map(list, zip(*taken, strict=True))
            del taken
            began = time.perf_counter()
            await self._output.put(Chunk(keys, marks, values))
            self._meter.blocked += time.perf_counter() - began

    def _on_done(self, job: Job) -> None:
        outcome = job.outcome
        assert outcome is not None
        count = outcome.values[0] or 0
        self._meter.blocked += self._reader.blocked
        self._reader.blocked = 0.0
        self._meter.record(count, outcome.seconds)
        if count:
            self._pace.update(count, outcome.seconds)
        self._pulled.set()

    async def stop(self, seconds: float, finished: bool) -> None:
        await self._workers.stop(seconds, finished)

    def abandon(self) -> None:
        self._workers.abandon()


class _Reader:
    """The thread's side of a ``ThreadStream``: a worker whose jobs are numbers of items to read."""

    def __init__(self, stream: ThreadStream) -> None:
        self.arrived: list[tuple[int, int, Any]] = []
        self.tell: Callable[[], object] | None = None  # to be called, once, when an item has arrived
        self.blocked = 0.0
        self._over = False
        self._stream = stream
        self._entries: Generator[tuple[int, Any], None, None] | None = None
        self._stopping = False

    def run(self, chunk: Chunk) -> Outcome:
        """Reads so many items, or fewer when they take long; the outcome's value is their number, or the end."""
        limit = chunk.values[0]
        place, arrived = self._stream._place, self.arrived
        outcome = Outcome()
        began = time.perf_counter()
        until = began + (GO_SECONDS if limit == _DIRECTLY else TARGET_SECONDS)
        count = 0
        blocked = 0.0
        try:
            if self._over:
                return Outcome([_ENDED])
            if self._entries is None:
                self._entries = self._read_all()
            for entry in self._entries:
                placed = place(entry)
                count += 1
                if placed is not None:
                    if limit != _DIRECTLY:
                        arrived.append(placed)
                        tell = self.tell
                        if tell is not None:
                            self.tell = None
                            tell()
                    else:
                        before = time.perf_counter()
                        put = self._put(placed)
                        blocked += time.perf_counter() - before
                        if not put:
                            break
                if count == limit or self._stopping or time.perf_counter() > until:
                    break
            else:
                self._stream._check_empty()
                self._over = True
        except BaseException as error:
            self._over = True
            outcome.failure = ItemFailure(self._stream._read, error)
        outcome.values = [_ENDED if self._over and not count else count]
        outcome.seconds = time.perf_counter() - began - blocked
        self.blocked += blocked
        return outcome

    def _put(self, placed: tuple[int, int, Any]) -> bool:
        """Puts an item behind all others; leaves it to the loop, which then puts it, if room is long in coming."""
        key, position, value = placed
        output = self._stream._output
        assert isinstance(output, ThreadChannel)
        if output.put_blocking(Chunk([key], [position], [value]), GO_SECONDS, self._is_stopping) is None:
            return True
        self.arrived.append(placed)
        return False

    def _is_stopping(self) -> bool:
        return self._stopping

    def _read_all(self) -> Generator[tuple[int, Any], None, None]:
        stream = self._stream
        iterator = iter(stream._origin)
        try:
            for value in iterator:
                yield from stream._admit(value)
            yield from stream._drain()
        finally:
            # A generator runs its finally clauses here, in the thread that ran the rest of it.
            if hasattr(iterator, "close"):
                iterator.close()

    def abort(self) -> None:
        self._stopping = True
        if isinstance(self._stream._output, ThreadChannel):
            self._stream._output.give_up()

    def close(self) -> None:
        if self._entries is not None:
            self._entries.close()


async def call_in_thread(name: str, fn: Callable[[], Any]) -> Any:
    """Calls a function in a daemon thread of its own, and awaits what it returns if that is awaitable."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        thread.join(0.1)
        if not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def main() -> None:
        try:
            result, error = fn(), None
        except BaseException as caught:
            result, error = None, caught
            if isinstance(error, StopIteration):  # a future does not carry it
                error = RuntimeError("the factory raised StopIteration")
        call_soon(loop, settle, result, error)

    thread = threading.Thread(target=main, name=f"owl-{name}", daemon=True)
    thread.start()
    result = await future
    return await result if inspect.isawaitable(result) else result
