"""The two faces of a run: an async iterator on the caller's loop, an iterator fed by a loop in a thread."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from owl._runtime import start_recorded
from owl.aio.pipeline.channel import Channel, ThreadChannel, call_soon
from owl.aio.pipeline.chunk import Chunk
from owl.aio.pipeline.errors import PipelineError
from owl.aio.pipeline.runner import SHUTDOWN_SECONDS, Run
from owl.aio.pipeline.state import Ledger
from owl.aio.pipeline.stats import RunStats

if TYPE_CHECKING:
    from owl.aio.pipeline.builder import Pipeline


class Delivery:
    """Hands items over one by one, and knows which ones it has."""

    def __init__(self, pipe: Pipeline, epoch: int, ledger: Ledger, stats: RunStats) -> None:
        self.epoch = epoch
        self.exhausted = False
        self._ledger = ledger
        self._stats = stats
        self._staged = pipe.stages_to_device
        self._bar = _progress_bar(pipe) if pipe.progress else None
        self._chunk = Chunk([], [], [])
        self._waiting: list = []
        self._settled = 0

    def load(self, chunk: Chunk) -> None:
        """The next items to hand over; all before them have been."""
        self.settle()
        self._chunk = chunk
        self._settled = 0
        self._waiting = chunk.values
        self._waiting.reverse()
        chunk.values = []  # so that an item lives no longer than its consumer wants
        if not self._waiting:
            self.settle()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self) -> Any:
        value = self._waiting.pop()
        if self._staged:
            value = value.take()
        if self._bar is not None:
            self._bar.update()
        return value

    def settle(self) -> Ledger:
        """Enters what was handed over since last time."""
        marks = self._chunk.marks
        taken = len(marks) - len(self._waiting)
        self._ledger.add_all(marks[self._settled : taken])
        self._stats.delivered += taken - self._settled
        self._settled = taken
        if taken == len(marks):
            self._ledger.add_all(self._chunk.skipped)
            self._chunk.skipped = []
        return self._ledger

    def close(self) -> None:
        self.settle()
        self._waiting.clear()
        self._chunk = Chunk([], [], [])
        self._settled = 0
        if self._bar is not None:
            self._bar.close()


class AsyncBatches:
    """What ``async with pipe as batches`` gives: an async iterator over one epoch."""

    def __init__(self, pipe: Pipeline, delivery: Delivery, stats: RunStats) -> None:
        self._pipe = pipe
        self._delivery = delivery
        self._stats = stats
        self._run = Run(pipe, delivery.epoch, delivery.settle(), stats, Channel)
        self._closed = False

    def __aiter__(self) -> AsyncBatches:
        return self

    async def __anext__(self) -> Any:
        delivery = self._delivery
        while not delivery:
            if delivery.exhausted:
                raise StopAsyncIteration
            if self._closed:
                raise PipelineError("the pipeline was closed")
            output = self._run.output
            if not output.ready():
                start_recorded()
            began = time.perf_counter()
            chunk = await output.get(max(1, output.capacity // 4))
            self._stats.waited += time.perf_counter() - began
            if chunk is None:
                delivery.exhausted = True
                self._stats.ended = time.perf_counter()
            else:
                delivery.load(chunk)
        return delivery.take()

    async def _start(self) -> None:
        await self._run.start()

    async def _close(self) -> None:
        self._closed = True
        try:
            await self._run.stop(self._delivery.exhausted)
        finally:
            self._pipe._end(self._delivery)


class SyncBatches:
    """What ``with pipe as batches`` gives: an iterator over one epoch; the run lives on a loop in a daemon thread."""

    def __init__(self, pipe: Pipeline, delivery: Delivery, stats: RunStats) -> None:
        self._pipe = pipe
        self._delivery = delivery
        self._stats = stats
        self._closed = False
        self._ready = threading.Event()
        self._output: ThreadChannel | None = None
        self._task: asyncio.Task[None] | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._main,), name="owl-pipeline", daemon=True)
        _LIVE.add(self)
        self._thread.start()
        try:
            self._ready.wait()
        except BaseException:  # Ctrl-C
            self.close()
            raise

    def __iter__(self) -> SyncBatches:
        return self

    def __next__(self) -> Any:
        delivery = self._delivery
        while not delivery:
            if delivery.exhausted:
                raise StopIteration
            if self._closed:
                raise PipelineError("the pipeline was closed")
            output = self._output
            assert output is not None
            if not output.ready():
                start_recorded()  # the devices compute what is recorded while this thread waits
            began = time.perf_counter()
            chunk = output.get_blocking(max(1, output.capacity // 4))
            self._stats.waited += time.perf_counter() - began
            if chunk is None:
                delivery.exhausted = True
                self._stats.ended = time.perf_counter()
            else:
                delivery.load(chunk)
        return delivery.take()

    def close(self) -> None:
        """Ends the run; returns within about a second."""
        if self._closed:
            return
        self._closed = True
        _LIVE.discard(self)
        self._ready.wait()
        task, self._task = self._task, None  # whose exception holds its frame, and that this
        if task is not None:
            call_soon(self._loop, task.cancel)
        self._thread.join(SHUTDOWN_SECONDS + 0.2)
        self._pipe._end(self._delivery)

    def _main(self) -> None:
        # Made here, where no signal handler runs: an exception in its constructor would leave half of a loop.
        loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        self._task = task = loop.create_task(self._serve())
        try:
            loop.run_until_complete(task)
            loop.run_until_complete(loop.shutdown_asyncgens())
        except asyncio.CancelledError:
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            self._ready.set()
            asyncio.set_event_loop(None)
            loop.close()

    async def _serve(self) -> None:
        run = Run(self._pipe, self._delivery.epoch, self._delivery.settle(), self._stats, ThreadChannel)
        self._output = run.output
        self._ready.set()
        try:
            await run.start()
            await asyncio.get_running_loop().create_future()  # until close() cancels this task
        except Exception as error:
            run.output.close(error)
        finally:
            await run.stop(self._delivery.exhausted)


def _progress_bar(pipe: Pipeline) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress=True needs the package tqdm") from error
    try:
        total = len(pipe)
    except TypeError:
        total = None
    return tqdm(total=total, unit="batch" if pipe.batches else "item")


_LIVE: weakref.WeakSet[SyncBatches] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # Daemon threads must not run into an interpreter that is being taken down.
    for batches in list(_LIVE):
        batches.close()
