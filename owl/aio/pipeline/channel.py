"""Bounded queues between stages, counted in items and in bytes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable

from owl.aio.pipeline.chunk import Chunk, weigh


class _Buffer:
    """Chunks with their weight. Admits what fits, and anything when empty, so that no item is ever too large."""

    def __init__(self, capacity: int, max_bytes: int, adaptive: bool) -> None:
        self.capacity = capacity
        self.max_bytes = max_bytes
        self.adaptive = adaptive
        self.items = 0
        self.bytes = 0
        self.item_bytes = 0.0
        self.closed = False
        self.error: BaseException | None = None
        self._chunks: deque[tuple[Chunk, int]] = deque()

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
        return not self.items or (self.items + n <= self.capacity and self.bytes + weight <= self.max_bytes)

    def push(self, chunk: Chunk, weight: int) -> None:
        self._chunks.append((chunk, weight))
        self.items += len(chunk)
        self.bytes += weight

    def pop(self, limit: int) -> Chunk | None:
        """At most ``limit`` items, merged from what is there; None when empty and closed without an error."""
        if not self._chunks:
            if self.error is not None:
                raise self.error
            return None
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
        self.items -= len(chunk)
        self.bytes -= weight
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

    async def get(self, limit: int) -> Chunk | None:
        """At most ``limit`` items; waits for the first. None at the end; raises the producer's failure there."""
        while not self.ready():
            self._getter = asyncio.get_running_loop().create_future()
            try:
                await self._getter
            finally:
                self._getter = None
        chunk = self.pop(limit)
        if self._putter is not None and self.fits(*self._wanted):
            _wake(self._putter)
        return chunk

    def close(self, error: BaseException | None = None) -> None:
        """No further items; the first call counts."""
        if not self.closed:
            self.closed, self.error = True, error
            _wake(self._getter)


class ThreadChannel(_Buffer):
    """A queue from an event loop to a thread that blocks on it."""

    def __init__(self, capacity: int, max_bytes: int, adaptive: bool = False) -> None:
        super().__init__(capacity, max_bytes, adaptive)
        self._loop = asyncio.get_running_loop()
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._awaited: tuple[int, int] | None = None
        self._putter: asyncio.Future | None = None
        self._wanted = (0, 0)

    async def put(self, chunk: Chunk) -> None:
        """Waits, on the loop, until there is room."""
        for piece, weight in self.pieces(chunk):
            while True:
                with self._changed:
                    if self.fits(len(piece), weight):
                        self.push(piece, weight)
                        self._changed.notify()
                        break
                    self._wanted = (len(piece), weight)
                    putter = self._putter = self._loop.create_future()
                await putter

    def put_blocking(self, chunk: Chunk, seconds: float, stopping: Callable[[], bool]) -> Chunk | None:
        """Puts a chunk from a thread that waits so long for room; what it could not put, if anything.

        Only while nobody else puts anything. ``give_up`` ends the waiting once ``stopping`` says so.
        """
        weight = weigh(chunk.values)
        count = len(chunk)
        until = time.perf_counter() + seconds
        with self._changed:
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
                    self.push(head, part)
                    self._changed.notify()
                    if rest is None:
                        return None
                    chunk, weight = rest, weight - part
                    continue
                left = until - time.perf_counter()
                if left <= 0 or stopping():
                    return chunk
                self._awaited = (enough, part)
                self._room.wait(left)
                self._awaited = None

    def give_up(self) -> None:
        """Wakes a thread that waits in ``put_blocking``, to see whether it is to stop."""
        with self._changed:
            self._room.notify()

    def get_blocking(self, limit: int) -> Chunk | None:
        """As ``Channel.get``, but blocks the calling thread; Ctrl-C interrupts it."""
        with self._changed:
            while not self.ready():
                self._changed.wait()
            chunk = self.pop(limit)
            putter = None
            if self._awaited is not None and self.fits(*self._awaited):
                self._room.notify()
            if self._putter is not None and self.fits(*self._wanted):
                putter, self._putter = self._putter, None
        if putter is not None:
            call_soon(self._loop, _wake, putter)
        return chunk

    def close(self, error: BaseException | None = None) -> None:
        """No further items; the first call counts. May be called from any thread."""
        with self._changed:
            if not self.closed:
                self.closed, self.error = True, error
                self._changed.notify()


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
