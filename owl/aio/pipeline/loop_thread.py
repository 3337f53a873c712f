"""The thread in which a run lives whose consumer blocks: an event loop of its own, and how it ends."""

from __future__ import annotations

import _thread
import asyncio
import atexit
import contextvars
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from owl.aio.pipeline.channel import ThreadChannel, call_soon
from owl.aio.pipeline.delivery import Delivery
from owl.aio.pipeline.runner import SHUTDOWN_SECONDS, Run
from owl.aio.pipeline.stats import RunStats

if TYPE_CHECKING:
    from owl.aio.pipeline.builder import Pipeline

_WATCH_SECONDS = 0.25
_POLL_SECONDS = 1.0

_own: contextvars.ContextVar[LoopThread | None] = contextvars.ContextVar("owl_pipeline_thread", default=None)
_living: set[LoopThread] = set()


class Latch:
    """Set once, by one thread; any thread may wait, and be interrupted while it waits.

    ``threading.Event`` would do, but for an interrupt in the middle of its Python code, which can leave its lock held.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        if not self.is_set:
            self.is_set = True
            self._lock.release()

    def wait(self, seconds: float | None = None) -> bool:
        """Blocks at most so long; whether it is set."""
        until = None if seconds is None else time.monotonic() + seconds
        while not self.is_set:
            left = _POLL_SECONDS if until is None else min(_POLL_SECONDS, until - time.monotonic())
            if left <= 0:
                break
            # One waiter wakes the next one; where an interrupt keeps it from that, they look by themselves.
            if self._lock.acquire(timeout=left):
                self._lock.release()
        return self.is_set


class LoopThread:
    """Runs the stages of one run on an event loop in a daemon thread, where no interrupt arrives.

    It ends when ``stop`` is called, and when its consumer, which it holds weakly, is gone: whatever an interrupt keeps
    the consumer from doing, the thread sees to its own end, and to that of the run's other threads.
    """

    def __init__(self, consumer: weakref.ref[Any]) -> None:
        self.output: ThreadChannel | None = None
        self.error: BaseException | None = None
        self._consumer = consumer
        self._ready = Latch()
        self._ended = Latch()
        self._asked = False
        self._stopping = False
        self._cancelled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None

    def start(self, pipe: Pipeline, delivery: Delivery, stats: RunStats) -> None:
        """Returns at once."""
        # Thread.start() takes several steps, and an interrupt between two of them would leave half a thread. So they
        # are taken by another thread; to start that one is a single step.
        arguments = (contextvars.copy_context(), pipe, delivery, stats)
        self._asked = True
        _thread.start_new_thread(self._start, arguments)

    def wait_ready(self) -> None:
        """Blocks until ``output`` or ``error`` is there."""
        self._ready.wait()

    def ended(self) -> bool:
        return self._ended.is_set

    def stop(self) -> None:
        """Makes it end, within about a second; returns at once. May be called from any thread, and again."""
        self._stopping = True
        loop = self._loop
        if loop is not None and not self._ended.is_set:
            call_soon(loop, self._watch, False)

    def wait(self) -> None:
        """Stops it, and blocks until it has ended, with a bound.

        Does not block in a thread of the run itself, where the last reference to its consumer may have been dropped.
        """
        self.stop()
        if _own.get() is self or not self._asked:
            return
        until = time.monotonic() + SHUTDOWN_SECONDS + 0.4
        self._ended.wait(until - time.monotonic())
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, until - time.monotonic()))

    def _start(self, context: contextvars.Context, *of_run: Any) -> None:
        try:
            thread = threading.Thread(target=context.run, args=(self._main, *of_run), name="owl-pipeline", daemon=True)
            self._thread = thread
            thread.start()
        except Exception as error:  # no thread is to be had
            self._thread = None
            self._end(error)

    # What belongs to the run is passed on, not kept: it holds this object, so that a cycle would keep it alive.

    def _main(self, *of_run: Any) -> None:
        _own.set(self)
        _living.add(self)
        try:
            loop = asyncio.new_event_loop()
            try:
                asyncio.set_event_loop(loop)
                self._task = loop.create_task(self._serve(*of_run))
                self._loop = loop
                self._watch()
                loop.run_until_complete(self._task)
                loop.run_until_complete(loop.shutdown_asyncgens())
            finally:
                self._task = self._loop = None
                asyncio.set_event_loop(None)
                loop.close()
        except BaseException as error:
            self._end(error)
        else:
            self._end()

    def _end(self, error: BaseException | None = None) -> None:
        self.error = error
        if self.output is not None:
            self.output.close(error)
        _living.discard(self)
        self._ended.set()
        self._ready.set()

    async def _serve(self, pipe: Pipeline, delivery: Delivery, stats: RunStats) -> None:
        run = Run(pipe, delivery.epoch, delivery.ledger, stats, ThreadChannel)
        self.output = run.output
        self._ready.set()
        try:
            await run.start()
            await asyncio.get_running_loop().create_future()  # until it is cancelled
        except asyncio.CancelledError:
            pass
        except Exception as error:
            run.output.close(error)
            await self._until_stopped()
        finally:
            await run.stop(delivery.exhausted)

    async def _until_stopped(self) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return

    def _watch(self, again: bool = True) -> None:
        """Ends the run when that is due; makes good what an interrupt of the consumer left undone."""
        if self._task is None or self._loop is None:
            return
        if self._stopping or self._consumer() is None:
            if not self._cancelled:  # a second time would cancel the stopping itself
                self._cancelled = True
                self._task.cancel()
        elif again:
            if self.output is not None:
                self.output.revive()
            self._loop.call_later(_WATCH_SECONDS, self._watch)


@atexit.register
def _end_all() -> None:
    # Daemon threads must not run into an interpreter that is being taken down.
    for loop_thread in list(_living):
        loop_thread.wait()
