"""Bounded queues between stages, counted in items and in bytes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from owl.aio.pipeline.chunk import Chunk, weigh


class _Buffer:
    """Chunks with their weight. Admits what fits, and anything when empty, so that no item is ever too large.

    One side pushes and the other pops, each with counts of its own, so that neither needs a lock, and an interrupt of
    the popping side leaves none held. What was pushed is counted before it is there, and what was popped after it is
    gone: between the two, less room is seen than there is.
    """

    def __init__(self, capacity: int, max_bytes: int, adaptive: bool) -> None:
        self.capacity = capacity
        self.max_bytes = max_bytes
        self.adaptive = adaptive
        self.item_bytes = 0.0
        self.closed = False
        self.error: BaseException | None = None
        self._chunks: deque[tuple[Chunk, int]] = deque()
        self._pushed_items = self._popped_items = 0
        self._pushed_bytes = self._popped_bytes = 0

    @property
    def items(self) -> int:
        """How many wait."""
        return self._pushed_items - self._popped_items

    def pieces(self, chunk: Chunk):
        """The chunk, cut so that each piece alone respects the bounds."""
        weight = weigh(chunk.values)
        if len(chunk):
            self.item_bytes = weight / len(chunk)
        limit = self.capacity
        if weight > self.max_bytes:
            limit = min(limit, max(1, int(self.max_bytes / self.item_bytes)))
        while len(chunk) > limit:
            head, chunk = chunk.split(limit)
            part = int(weight * limit / (len(chunk) + limit))
            weight -= part
            yield head, part
        yield chunk, weight

    def fits(self, n: int, weight: int) -> bool:
        items = self._pushed_items - self._popped_items
        if not items:
            return True
        return items + n <= self.capacity and self._pushed_bytes - self._popped_bytes + weight <= self.max_bytes

    def push(self, chunk: Chunk, weight: int) -> None:
        self._pushed_items += len(chunk)
        self._pushed_bytes += weight
        self._chunks.append((chunk, weight))

    def pop(self, limit: int) -> Chunk:
        """At most ``limit`` items, merged from what is there."""
        chunk = self._pop_one(limit)
        while len(chunk) < limit and self._chunks:
            chunk.extend(self._pop_one(limit - len(chunk)))
        return chunk

    def _pop_one(self, limit: int) -> Chunk:
        chunk, weight = self._chunks.popleft()
        if len(chunk) > limit:
            part = int(weight * limit / len(chunk))
            chunk, rest = chunk.split(limit)
            self._chunks.appendleft((rest, weight - part))
            weight = part
        self._popped_items += len(chunk)
        self._popped_bytes += weight
        return chunk

    def ready(self) -> bool:
        return bool(self._chunks) or self.closed


class Channel(_Buffer):
    """A queue between two stages of one event loop; one producer, one consumer."""

    def __init__(self, capacity: int, max_bytes: int, adaptive: bool = False) -> None:
        super().__init__(capacity, max_bytes, adaptive)
        self._getter: asyncio.Future | None = None
        self._putter: asyncio.Future | None = None
        self._wanted = (0, 0)

    async def put(self, chunk: Chunk) -> None:
        """Waits until there is room."""
        for piece, weight in self.pieces(chunk):
            while not self.fits(len(piece), weight):
                self._wanted = (len(piece), weight)
                self._putter = asyncio.get_running_loop().create_future()
                try:
                    await self._putter
                finally:
                    self._putter = None
            self.push(piece, weight)
            _wake(self._getter)

    async def wait(self) -> bool:
        """Waits until there are items, or the end: then False, or it raises the producer's failure there."""
        while not self.ready():
            self._getter = asyncio.get_running_loop().create_future()
            try:
                await self._getter
            finally:
                self._getter = None
        if not self._chunks and self.error is not None:
            raise self.error
        return bool(self._chunks)

    def take(self, limit: int) -> Chunk:
        """At most ``limit`` of the items that ``wait`` has seen."""
        chunk = self.pop(limit)
        if self._putter is not None and self.fits(*self._wanted):
            _wake(self._putter)
        return chunk

    async def get(self, limit: int) -> Chunk | None:
        """At most ``limit`` items; waits for the first. None at the end; raises the producer's failure there."""
        return self.take(limit) if await self.wait() else None

    def close(self, error: BaseException | None = None) -> None:
        """No further items; the first call counts."""
        if not self.closed:
            self.closed, self.error = True, error
            _wake(self._getter)


class ThreadChannel(_Buffer):
    """A queue from an event loop, or a thread of its run, to a thread that blocks on it.

    The blocking thread may be interrupted between any two of its steps. It holds no lock, and what it should have woken
    in vain waits a moment longer: for ``revive``, or for a time-out.
    """

    def __init__(self, capacity: int, max_bytes: int, adaptive: bool = False) -> None:
        super().__init__(capacity, max_bytes, adaptive)
        self._loop = asyncio.get_running_loop()
        self._sleeping = False
        self._news: SimpleQueue[None] = SimpleQueue()
        self._awaited: tuple[int, int] | None = None
        self._room: SimpleQueue[None] = SimpleQueue()
        self._putter: asyncio.Future | None = None
        self._wanted = (0, 0)

    async def put(self, chunk: Chunk) -> None:
        """Waits, on the loop, until there is room."""
        for piece, weight in self.pieces(chunk):
            while not self.fits(len(piece), weight):
                self._wanted = (len(piece), weight)
                self._putter = self._loop.create_future()
                try:
                    # The other side looks for a putter after it has made room: one of the two sees the other.
                    if not self.fits(len(piece), weight):
                        await self._putter
                finally:
                    self._putter = None
            self._push(piece, weight)

    def put_blocking(self, chunk: Chunk, seconds: float, stopping: Callable[[], bool]) -> Chunk | None:
        """Puts a chunk from a thread that waits so long for room; what it could not put, if anything.

        Only while nothing else puts. ``give_up`` ends the waiting once ``stopping`` says so.
        """
        weight = weigh(chunk.values)
        count = len(chunk)
        until = time.perf_counter() + seconds
        if count:
            self.item_bytes = weight / count
        while True:
            count = len(chunk)
            each = weight / max(1, count)
            most = min(count, self.capacity, max(1, int(self.max_bytes / each)) if each else count)
            # Room for one is not worth waking a thread for if there are more to come.
            enough = min(most, max(1, self.capacity // 2))
            room = max(enough, min(most, self.capacity - self.items))
            if not self.fits(room, int(each * room)):
                room = enough
            part = int(each * room)
            if self.fits(room, part):
                head, rest = (chunk, None) if room == count else chunk.split(room)
                self._push(head, part)
                if rest is None:
                    return None
                chunk, weight = rest, weight - part
                continue
            left = until - time.perf_counter()
            if left <= 0 or stopping():
                return chunk
            self._awaited = (enough, part)
            if not self.fits(enough, part):
                with suppress(Empty):
                    self._room.get(timeout=left)
            self._awaited = None

    def give_up(self) -> None:
        """Wakes a thread that waits in ``put_blocking``, to see whether it is to stop."""
        self._room.put(None)

    def revive(self) -> None:
        """On the loop: wakes a ``put`` that there is room for, in case its consumer was interrupted before it could."""
        if self._putter is not None and self.fits(*self._wanted):
            _wake(self._putter)

    def wait_blocking(self) -> bool:
        """Blocks the calling thread until there are items, or the end: then False, or it raises the failure there.

        An interrupt changes nothing.
        """
        while True:
            closed = self.closed  # looked at first, for nothing comes after it
            if self._chunks:
                return True
            if closed:
                if self.error is not None:
                    raise self.error
                return False
            self._sleeping = True
            if not self._chunks and not self.closed:
                self._news.get()

    def take(self, limit: int) -> Chunk:
        """At most so many of the items that ``wait_blocking`` has seen. After an interrupt some may be lost."""
        chunk = self.pop(limit)
        awaited = self._awaited
        if awaited is not None and self.fits(*awaited):
            self._room.put(None)
        putter = self._putter
        if putter is not None and self.fits(*self._wanted):
            call_soon(self._loop, _wake, putter)
        return chunk

    def close(self, error: BaseException | None = None) -> None:
        """No further items; the first call counts. On the loop."""
        if not self.closed:
            self.error = error
            self.closed = True
            self._tell()

    def _push(self, chunk: Chunk, weight: int) -> None:
        self.push(chunk, weight)
        self._tell()

    def _tell(self) -> None:
        if self._sleeping:
            self._sleeping = False
            self._news.put(None)


def call_soon(loop: asyncio.AbstractEventLoop, callback, *args) -> bool:
    """From any thread; False when the loop has gone, which happens only to threads that outlive their run."""
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        return False
    return True


def _wake(waiter: asyncio.Future | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
