"""Neighbouring stages that share one thread: what a hand-over costs is paid once for all of them.

Plain functions that take microseconds gain nothing from a thread for each stage: they hold the GIL in turn, and every
item would wander from core to core. So stages of one thread each are run together at first, chunk by chunk. Where that
turns out to be a loss, because two of them take long enough to hide each other's time, they part for the rest of the
epoch.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from owl.aio.pipeline.channel import Channel, ThreadChannel
from owl.aio.pipeline.chunk import Chunk
from owl.aio.pipeline.errors import ItemFailure
from owl.aio.pipeline.pace import GO_SECONDS, Pace
from owl.aio.pipeline.source import IndexSupply
from owl.aio.pipeline.stage import Grouper, Supply
from owl.aio.pipeline.stats import Meter
from owl.aio.pipeline.work import Outcome, Work, assemble
from owl.aio.pipeline.workers import Job, ThreadWorkers

_WORTH_SECONDS = 50e-6  # an item; what threads of their own would hide must be more than they cost
_WORTH_SHARE = 0.2  # of the time that the stages take together
_FORGET = 1 - 1 / 32  # a job


class Last(Chunk):
    """The end of the input, on its way through the stages: what they hold back goes out."""

    def __init__(self) -> None:
        super().__init__([], [], [])


class Go(Chunk):
    """In place of items: the thread takes them from the source itself, and goes on while there is room for results."""

    def __init__(self) -> None:
        super().__init__([], [], [])


@dataclass(slots=True)
class Link:
    """One of the stages that run together."""

    name: str
    work: Work
    meter: Meter
    max_skips: int = 0
    grouper: Grouper | None = None
    skipped: int = 0


@dataclass(slots=True)
class ChainOutcome(Outcome):
    """What came out of all of the stages, of so many ``items``, and has still to be put.

    ``last``: the input has ended. ``blocked``: seconds spent on putting others. ``laps`` has the items, seconds and
    skipped items of each stage.
    """

    chunk: Chunk = field(default_factory=lambda: Chunk([], [], []))
    items: int = 0
    last: bool = False
    blocked: float = 0.0
    failed_stage: str = ""
    laps: list[tuple[int, float, int]] = field(default_factory=list)


class Chain:
    """The worker of a ``FusedRun``: runs a chunk through all stages. Used by one thread, with chunks in their order."""

    def __init__(self, links: list[Link], supply: Supply, output: Channel | ThreadChannel, pace: Pace) -> None:
        self._links = links
        self._pace = pace
        self._supply = supply
        self._output = output
        self._stopping = False
        self._warm = False

    def run(self, chunk: Chunk) -> ChainOutcome:
        """Never raises. After a failure nothing more is run: what was under way then comes to nothing."""
        result = self._go() if isinstance(chunk, Go) else self._run(chunk)
        self._warm = True
        result.seconds = sum(seconds for _, seconds, _ in result.laps)
        return result

    def _go(self) -> ChainOutcome:
        """Takes chunks and puts what comes of them until it is time to report, the queue is full, or all is over."""
        supply, output = self._supply, self._output
        assert isinstance(supply, IndexSupply)
        assert isinstance(output, ThreadChannel)
        until = time.perf_counter() + (GO_SECONDS if self._warm else 0.0)
        items, blocked, laps = 0, 0.0, [(0, 0.0, 0)] * len(self._links)
        while True:
            result = self._run(supply.pull(self._pace.items) or Last())
            items += result.items
            laps = [(n + m, t + u, s + r) for (n, t, s), (m, u, r) in zip(laps, result.laps, strict=False)]
            if result.items:
                self._pace.update(result.items, sum(seconds for _, seconds, _ in result.laps))
            # What must not go out alone, and what there is no room for, is put on the loop.
            if result.last or result.failure is not None or self._stopping:
                break
            began = time.perf_counter()
            if len(result.chunk) or result.chunk.skipped:
                rest = output.put_blocking(result.chunk, GO_SECONDS, self._is_stopping)
                result.chunk = rest or Chunk([], [], [])
                blocked += time.perf_counter() - began
                if rest is not None:
                    break
            if began >= until:
                break
        result.items, result.laps, result.blocked = items, laps, blocked
        return result

    def _run(self, chunk: Chunk) -> ChainOutcome:
        last = isinstance(chunk, Last)
        result = ChainOutcome(items=len(chunk), last=last)
        clock = time.perf_counter
        now = clock()
        for link in self._links:
            if self._stopping:
                chunk = Chunk([], [], [])
                break
            began, skipped, failure = now, 0, None
            try:
                if link.grouper is not None:
                    chunk = link.grouper.add(chunk, last) or Chunk([], [], [])
                if len(chunk):
                    outcome = link.work.run(chunk.keys, chunk.values)
                    chunk, failure, skipped = assemble(chunk, outcome, link.skipped, link.max_skips)
                    link.skipped += skipped
            except BaseException as error:  # out of memory, say
                failure = ItemFailure(chunk.keys[0] if len(chunk) else None, error)
                chunk = Chunk([], [], [])
            if failure is not None:
                # A later stage's failure is on an earlier item, so it comes first.
                result.failure, result.failed_stage = failure, link.name
                last = False  # a group that is not full is not delivered before an error
            now = clock()
            result.laps.append((len(chunk), now - began, skipped))
        self._stopping = self._stopping or result.failure is not None
        result.chunk = chunk
        return result

    def _is_stopping(self) -> bool:
        return self._stopping

    def abort(self) -> None:
        self._stopping = True
        if isinstance(self._output, ThreadChannel):
            self._output.give_up()

    def close(self) -> None:
        pass


def can_go(supply: Supply, output: Channel | ThreadChannel) -> bool:
    """Whether a thread can take from the one and put into the other without the loop."""
    return isinstance(supply, IndexSupply) and isinstance(output, ThreadChannel)


class FusedRun:
    """Runs a chain of stages in one thread; the counterpart of ``StageRun``.

    ``part`` is called, on the loop, if the stages had better have threads of their own: it starts them, from the same
    supply to the same output, and this run ends without closing that.
    """

    def __init__(
        self, links: list[Link], epoch: int, supply: Supply, output: Channel | ThreadChannel, part: Callable[[], None]
    ) -> None:
        self._links = links
        self._epoch = epoch
        self._supply = supply
        self.output = output
        self._part = part
        unit = 1
        for link in links:
            unit *= link.grouper.size if link.grouper is not None else 1
        # Where both ends allow it, the thread goes on by itself: asking the loop for every chunk costs more than stages
        # of less than a microsecond.
        self._free = can_go(supply, output)
        self._pace = Pace(1, output, unit=unit)
        self._pending: deque[Job] = deque()
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._over = False
        self._fed = False
        self._parted = False
        self._end: BaseException | None = None
        self._idle_since = time.perf_counter()
        self._sums = [0.0] * len(links)
        self._items = 0.0
        self._jobs = 0
        name = "-".join(link.name for link in links)
        self._chain = Chain(links, supply, output, self._pace)
        self._workers = ThreadWorkers(name, 1, Work(fn=iter), lambda: self._chain, self._on_done)
        links[-1].meter.output = output

    async def feed(self) -> None:
        """Until the supply ends, or fails, or the stages part."""
        try:
            while not self._over:
                await self._until_under_way(0 if self._free else 1)
                if self._over:
                    break
                if self._had_better_part():
                    self._parted = True
                    await self._until_under_way(0)
                    break
                self._submit(Go() if self._free else await self._take())
        except Exception as error:
            self._end = error
        self._fed = True
        self._news.set()

    async def _take(self) -> Chunk:
        began = time.perf_counter()
        chunk = await self._supply.get(self._pace.items)
        if all(job.outcome is not None for job in self._pending):
            starved = max(0.0, time.perf_counter() - max(began, self._idle_since))
            for link in self._links:
                link.meter.starved += starved
        self._over = chunk is None
        return Last() if chunk is None else chunk

    async def _until_under_way(self, jobs: int) -> None:
        while len(self._pending) > jobs:
            self._room.clear()
            await self._room.wait()

    def _submit(self, chunk: Chunk) -> None:
        self._pending.append(Job(chunk))
        self._workers.submit(self._pending[-1])

    def _had_better_part(self) -> bool:
        gain = sum(self._sums) - max(self._sums)
        return gain > _WORTH_SECONDS * self._items and gain > _WORTH_SHARE * sum(self._sums)

    def _on_done(self, job: Job) -> None:
        outcome = job.outcome
        assert isinstance(outcome, ChainOutcome)
        self._idle_since = time.perf_counter()
        before = 0.0
        for at, (link, (items, seconds, skipped)) in enumerate(zip(self._links, outcome.laps, strict=False)):
            meter = link.meter
            meter.record(items, seconds)
            meter.skipped += skipped
            meter.starved += before
            before += seconds
            meter.blocked += outcome.seconds - before + outcome.blocked
            # The first call of a function may load and open things: it tells nothing about the next ones.
            if self._jobs:
                self._sums[at] = self._sums[at] * _FORGET + seconds
        if self._jobs:
            self._items = self._items * _FORGET + outcome.items
        self._jobs += 1
        self._over = self._over or outcome.last
        if outcome.items and not self._free:
            self._pace.update(outcome.items, outcome.seconds)
        self._news.set()

    async def emit(self) -> None:
        """Until everything fed has gone out; then closes the output, with the failure if there was one, or parts."""
        while not (self._fed and not self._pending):
            if not self._pending or self._pending[0].outcome is None:
                self._news.clear()
                await self._news.wait()
                continue
            job = self._pending[0]
            outcome = job.outcome
            assert isinstance(outcome, ChainOutcome)
            chunk, failure = outcome.chunk, outcome.failure
            if len(chunk) or chunk.skipped:
                began = time.perf_counter()
                await self.output.put(chunk)
                blocked = time.perf_counter() - began
                for link in self._links:
                    link.meter.blocked += blocked
            self._pending.popleft()
            self._room.set()
            if failure is not None:
                self.output.close(failure.as_error(outcome.failed_stage, self._epoch))
                return
            del job, chunk, outcome
        if self._parted and self._end is None:
            self._part()
        else:
            self.output.close(self._end)

    async def stop(self, seconds: float, finished: bool) -> None:
        await self._workers.stop(seconds, finished)

    def abandon(self) -> None:
        self._workers.abandon()
