"""One stage at work: takes chunks in, has them worked on, hands results on, in order or as they come."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from owl.aio.pipeline.channel import Channel, ThreadChannel
from owl.aio.pipeline.chunk import Chunk
from owl.aio.pipeline.pace import TARGET_SECONDS, Pace
from owl.aio.pipeline.process import ProcessWorker
from owl.aio.pipeline.spare import SpareProcesses
from owl.aio.pipeline.state import merge_marks
from owl.aio.pipeline.stats import Meter
from owl.aio.pipeline.work import Work, assemble
from owl.aio.pipeline.workers import Job, LocalWorker, TaskWorkers, ThreadWorkers, Worker


class Supply(Protocol):
    """Where a stage takes chunks from."""

    async def get(self, limit: int) -> Chunk | None: ...


class Grouper:
    """Gathers items into lists of ``size`` for a batch; what it gives out are chunks whose values are such lists."""

    def __init__(self, size: int, drop_last: bool) -> None:
        self.size = size
        self._drop_last = drop_last
        self._held = Chunk([], [], [])

    def add(self, chunk: Chunk, last: bool = False) -> Chunk | None:
        """Takes items in; the groups that are full now. With the ``last`` items, also the group that never will be."""
        if len(self._held) or self._held.skipped:
            self._held.extend(chunk)
        else:
            self._held = chunk
        count = len(self._held)
        whole = count if last and not self._drop_last else count - count % self.size
        if not whole and not (last and self._held.skipped):
            return None
        taken, self._held = self._held.split(whole)
        # Skipped marks go with a batch at once: waiting for the next one would leave them out at the end of an epoch.
        taken.skipped, self._held.skipped = self._held.skipped, []
        return self._group(taken)

    def finish(self) -> Chunk | None:
        """What is left at the end; with ``drop_last`` nothing but what was skipped."""
        return self.add(Chunk([], [], []), last=True)

    def _group(self, chunk: Chunk) -> Chunk:
        size = self.size
        starts = range(0, len(chunk), size)
        return Chunk(
            [tuple(chunk.keys[at : at + size]) for at in starts],
            [merge_marks(chunk.marks[at : at + size]) for at in starts],
            [chunk.values[at : at + size] for at in starts],
            chunk.skipped,
        )


class StageRun:
    """Two tasks, ``feed`` and ``emit``, around a set of workers.

    At most ``2 * concurrency`` jobs are under way: one in each worker's hands, and one each to go on with, which
    hides the way to the loop and back.
    """

    def __init__(
        self,
        name: str,
        work: Work,
        supply: Supply,
        output: Channel | ThreadChannel,
        meter: Meter,
        *,
        concurrency: int = 1,
        ordered: bool = True,
        executor: str = "thread",
        max_skips: int = 0,
        grouper: Grouper | None = None,
        spares: SpareProcesses | None = None,
    ) -> None:
        self.output = output
        self._name = name
        self._work = work
        self._supply = supply
        self._meter = meter
        self._concurrency = concurrency
        self._ordered = ordered
        self._max_skips = max_skips
        self._grouper = grouper
        self._spares = spares
        self._alone = work.timeout is not None  # a timeout is per item, so items travel one by one
        # The way to a process and back takes a millisecond itself when all cores are busy.
        self._pace = Pace(concurrency, output, target=(10 if executor == "process" else 1) * TARGET_SECONDS)
        self._pending: deque[Job] = deque()
        self._done: deque[Job] = deque()
        self._under_way = 0
        self._idle_since = time.perf_counter()
        self._fed = False
        self._end: BaseException | None = None
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._workers = self._make_workers(executor)
        meter.output = output

    def _make_workers(self, executor: str) -> ThreadWorkers | TaskWorkers:
        if executor == "task":
            return TaskWorkers(self._name, self._concurrency, self._work, self._on_done)
        open_worker: Callable[[Work], Worker] = self._open_process if executor == "process" else LocalWorker
        return ThreadWorkers(
            self._name,
            self._concurrency,
            self._work,
            lambda: open_worker(self._work),
            self._on_done,
            watched=self._alone and executor == "thread",
        )

    def _open_process(self, work: Work) -> ProcessWorker:
        """The process of an earlier epoch, if there is one."""
        worker = self._spares.take(self._name) if self._spares else None
        if worker is None:
            worker = ProcessWorker(work)
        else:
            worker.resume(work)
        if self._spares is not None:
            worker.keep = partial(self._spares.add, self._name)
        return worker

    async def feed(self) -> None:
        """Until the supply ends, or fails: then what is under way still goes out before the failure does."""
        try:
            while True:
                while self._under_way >= 2 * self._concurrency:
                    self._room.clear()
                    await self._room.wait()
                chunk = await self._take()
                if chunk is None:
                    break
                self._submit(chunk if self._grouper is None else self._grouper.add(chunk))
            if self._grouper is not None:
                self._submit(self._grouper.finish())
        except Exception as error:
            self._end = error
        self._fed = True
        self._news.set()

    async def _take(self) -> Chunk | None:
        limit = self._limit()
        began = time.perf_counter()
        chunk = await self._supply.get(limit)
        if not any(job.outcome is None for job in self._pending):
            self._meter.starved += max(0.0, time.perf_counter() - max(began, self._idle_since))
        return chunk

    def _limit(self) -> int:
        if self._grouper is not None:
            return self._grouper.size * self._pace.items
        if self._alone:
            return 1
        waiting = getattr(self._supply, "items", 0)
        return min(self._pace.items, max(1, -(-waiting // self._concurrency)))

    def _submit(self, chunk: Chunk | None) -> None:
        if chunk is None:
            return
        job = Job(chunk)
        self._under_way += 1
        self._pending.append(job)
        if len(chunk):
            self._workers.submit(job)
        else:
            job.outcome = self._work.run([], [])
            self._on_done(job)

    def _on_done(self, job: Job) -> None:
        outcome = job.outcome
        assert outcome is not None
        self._idle_since = time.perf_counter()
        self._meter.record(len(outcome.values), outcome.seconds)
        if len(outcome.values):
            self._pace.update(len(outcome.values), outcome.seconds)
        if not self._ordered:
            self._done.append(job)
        self._news.set()

    async def emit(self) -> None:
        """Until everything fed has gone out; closes the output, with the failure if there was one."""
        while (job := await self._next()) is not None:
            assert job.outcome is not None
            chunk, failure, skipped = assemble(job.chunk, job.outcome, self._meter.skipped, self._max_skips)
            self._meter.skipped += skipped
            if len(chunk) or chunk.skipped:
                began = time.perf_counter()
                await self.output.put(chunk)
                self._meter.blocked += time.perf_counter() - began
            self._under_way -= 1
            self._room.set()
            if failure is not None:
                self.output.close(failure.as_error(self._name, self._work.epoch))
                return
            del job, chunk
        self.output.close(self._end)

    async def _next(self) -> Job | None:
        while True:
            if self._ordered:
                if self._pending and self._pending[0].outcome is not None:
                    return self._pending.popleft()
            elif self._done:
                job = self._done.popleft()
                self._pending.remove(job)
                return job
            if self._fed and not self._pending:
                return None
            self._news.clear()
            await self._news.wait()

    async def stop(self, seconds: float, finished: bool) -> None:
        await self._workers.stop(seconds, finished)

    def abandon(self) -> None:
        self._workers.abandon()
