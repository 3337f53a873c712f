"""Who runs a stage's jobs: threads of its own, or tasks on the loop."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from owl.aio.pipeline.channel import call_soon
from owl.aio.pipeline.chunk import Chunk
from owl.aio.pipeline.errors import ItemFailure
from owl.aio.pipeline.work import Outcome, Work


class Job:
    """A chunk on its way through a stage. An attempt at it ends once: by its worker, or by expiring."""

    __slots__ = ("_lock", "attempt", "chunk", "outcome")

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.outcome: Outcome | None = None
        self.attempt = 0
        self._lock = threading.Lock()

    def end(self, attempt: int) -> bool:
        """True for the first to end this attempt: the worker that made it, or the timer that gave it up."""
        with self._lock:
            if attempt != self.attempt:
                return False
            self.attempt += 1
            return True


class Worker(Protocol):
    """What one thread of a pool works with."""

    def run(self, chunk: Chunk) -> Outcome: ...
    def abort(self) -> None: ...
    def close(self) -> None: ...


class LocalWorker:
    """Calls the function in the thread itself."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def run(self, chunk: Chunk) -> Outcome:
        return self._work.run(chunk.keys, chunk.values)

    def abort(self) -> None:
        """A Python function cannot be interrupted; its thread ends when it returns."""

    def close(self) -> None:
        pass


class ThreadWorkers:
    """Daemon threads, started as needed, that take jobs from one queue and report to the loop.

    ``concurrent.futures`` would join a hanging thread at interpreter exit; these never hold anybody up. With
    ``watched``, a job that takes longer than the work's timeout is given up, and so is its thread, which a fresh
    one replaces.
    """

    def __init__(
        self,
        name: str,
        size: int,
        work: Work,
        open_worker: Callable[[], Worker],
        on_done: Callable[[Job], None],
        watched: bool = False,
    ) -> None:
        self._name = name
        self._size = size
        self._work = work
        self._timeout = work.timeout or 0.0
        self._open_worker = open_worker
        self._on_done = on_done
        self._watched = watched
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._jobs: queue.SimpleQueue[tuple[Job, int] | None] = queue.SimpleQueue()
        self._outstanding = 0
        self._threads: set[threading.Thread] = set()
        self._workers: list[Worker] = []
        self._timers: set[asyncio.TimerHandle] = set()
        self._stopping = False
        self._all_gone: asyncio.Future | None = None

    def submit(self, job: Job) -> None:
        self._outstanding += 1
        self._jobs.put((job, job.attempt))
        if len(self._threads) < min(self._size, self._outstanding):
            self._start_thread()

    def _start_thread(self) -> None:
        # Each thread needs a copy: a context can be entered only once at a time.
        context = self._context.copy()
        thread = threading.Thread(target=context.run, args=(self._main,), name=f"owl-{self._name}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _main(self) -> None:
        worker = None
        try:
            while (taken := self._jobs.get()) is not None and not self._stopping:
                job, attempt = taken
                if self._watched:
                    call_soon(self._loop, self._watch, job, attempt, time.perf_counter(), threading.current_thread())
                try:
                    if worker is None:
                        worker = self._open_worker()
                        self._workers.append(worker)
                    outcome = worker.run(job.chunk)
                except BaseException as error:
                    outcome = Outcome(failure=ItemFailure(job.chunk.keys[0], error))
                if not job.end(attempt):
                    return
                job.outcome = outcome
                call_soon(self._loop, self._finished, job)
                del job, taken, outcome  # an idle worker keeps nothing alive
        finally:
            if worker is not None:
                worker.close()
            call_soon(self._loop, self._gone, threading.current_thread())

    def _finished(self, job: Job) -> None:
        self._outstanding -= 1
        self._on_done(job)

    def _watch(self, job: Job, attempt: int, started: float, thread: threading.Thread) -> None:
        def fire() -> None:
            self._timers.discard(timer)
            self._expire(job, attempt, thread)

        if job.attempt == attempt and not self._stopping:
            timer = self._loop.call_later(started + self._timeout - time.perf_counter(), fire)
            self._timers.add(timer)

    def _expire(self, job: Job, attempt: int, thread: threading.Thread) -> None:
        if self._stopping or not job.end(attempt):
            return
        self._outstanding -= 1
        self._threads.discard(thread)
        if attempt < self._work.allowed_retries:
            self.submit(job)
            return
        error = TimeoutError(f"no result within {self._timeout} s; its thread is left alone until it returns")
        job.outcome = self._work.failed(ItemFailure(job.chunk.keys[0], error, attempt + 1))
        job.outcome.seconds = self._timeout
        if self._outstanding > len(self._threads):
            self._start_thread()
        self._on_done(job)

    def _gone(self, thread: threading.Thread) -> None:
        self._threads.discard(thread)
        thread.join(0.1)  # it has made its last call: this takes microseconds
        if self._all_gone is not None and not self._threads and not self._all_gone.done():
            self._all_gone.set_result(None)

    async def stop(self, seconds: float, finished: bool = False) -> None:
        """Ends all threads; waits for them at most so long. What is at work is aborted, unless all has ``finished``."""
        for timer in self._timers:
            timer.cancel()
        self.abandon(finished)
        if self._threads:
            self._all_gone = self._loop.create_future()
            await asyncio.wait({self._all_gone}, timeout=seconds)

    def abandon(self, finished: bool = False) -> None:
        """Ends all threads, without waiting."""
        self._stopping = True
        if not finished:
            for worker in list(self._workers):
                worker.abort()
        for _ in self._threads:
            self._jobs.put(None)


class TaskWorkers:
    """Tasks on the loop that take jobs for a coroutine function."""

    def __init__(self, name: str, size: int, work: Work, on_done: Callable[[Job], None]) -> None:
        self._name = name
        self._size = size
        self._work = work
        self._on_done = on_done
        self._outstanding = 0
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = False

    def submit(self, job: Job) -> None:
        self._outstanding += 1
        self._jobs.put_nowait(job)
        if len(self._tasks) < min(self._size, self._outstanding):
            task = asyncio.get_running_loop().create_task(self._main(), name=f"owl-{self._name}")
            self._tasks.add(task)

    async def _main(self) -> None:
        while True:
            job = await self._jobs.get()
            job.outcome = await self._work.run_async(job.chunk.keys, job.chunk.values, lambda: self._stopping)
            self._outstanding -= 1
            self._on_done(job)
            del job

    async def stop(self, seconds: float, _finished: bool = False) -> None:
        """Cancels all tasks; waits for them at most so long."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def abandon(self) -> None:
        """Nothing is left to do: its tasks went with their loop."""
        self._stopping = True
