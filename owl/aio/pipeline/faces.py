"""The two faces of a run: an async iterator on the caller's loop, an iterator fed by a loop in a thread."""

from __future__ import annotations

import asyncio
import time
import weakref
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

from owl._runtime import start_recorded
from owl.aio.pipeline.channel import Channel, call_soon
from owl.aio.pipeline.delivery import Delivery
from owl.aio.pipeline.errors import PipelineError
from owl.aio.pipeline.loop_thread import LoopThread
from owl.aio.pipeline.runner import Run
from owl.aio.pipeline.stats import RunStats

if TYPE_CHECKING:
    from owl.aio.pipeline.builder import Pipeline

_MOVING_SECONDS = 0.1
_CUT_OFF = "an interrupt cut off the hand-over of items; leave this iteration, and begin another"


class AsyncBatches:
    """What ``async with pipe as batches`` gives: an async iterator over one epoch."""

    def __init__(self, pipe: Pipeline) -> None:
        self._pipe = pipe
        self._delivery: Delivery | None = None
        self._run: Run | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False
        self._moving = False

    def __aiter__(self) -> AsyncBatches:
        return self

    async def __anext__(self) -> Any:
        delivery, run = self._delivery, self._run
        assert delivery is not None
        assert run is not None
        while not delivery:
            if delivery.exhausted:
                raise StopAsyncIteration
            if delivery.closed:
                raise PipelineError("the pipeline was closed")
            if self._moving:
                raise PipelineError(_CUT_OFF)
            output = run.output
            if not output.ready():
                start_recorded()
            began = time.perf_counter()
            more = await output.wait()
            run.stats.waited += time.perf_counter() - began
            if not more:
                delivery.exhausted = True
                run.stats.ended = time.perf_counter()
            else:
                self._moving = True
                delivery.load(output.take(max(1, output.capacity // 4)))
                self._moving = False
        return delivery.take()

    async def start(self) -> None:
        """Claims the pipeline, and starts a run of it. Raises PipelineError while another one has it."""
        standing = self._pipe.standing
        delivery = self._delivery = standing.begin(self._pipe, self)
        self._loop = asyncio.get_running_loop()
        delivery.ended = partial(_has_ended, weakref.ref(self))
        self._run = Run(self._pipe, delivery.epoch, delivery.ledger, standing.stats, Channel)
        await self._run.start()

    async def close(self) -> None:
        """Ends the run, within about a second; an epoch left early counts as over. May be called again."""
        run, delivery = self._run, self._delivery
        try:
            if run is not None and delivery is not None:
                await run.stop(delivery.exhausted)
        finally:
            if delivery is not None:
                self._pipe.standing.end(delivery)

    def __del__(self) -> None:
        # Dropped without being closed: an interrupt came between, or its loop was left as it was.
        run, loop = self._run, self._loop
        if run is None or loop is None or run.stopped:
            return
        if run.stopping or not call_soon(loop, run.stop_soon):
            run.abandon()


def _has_ended(batches: weakref.ref[AsyncBatches]) -> bool:
    """Whether nothing can come any more: its loop is closed."""
    held = batches()
    return held is None or held._loop is None or held._loop.is_closed()


class SyncBatches:
    """What ``with pipe as batches`` gives: an iterator over one epoch; the run lives on a loop in a daemon thread.

    An interrupt may come between any two steps of the thread that iterates. Therefore nothing that must be put right
    lies with that thread: it takes items, and asks for the end. Dropping this ends the run too.
    """

    def __init__(self, pipe: Pipeline) -> None:
        self._pipe = pipe
        self._delivery: Delivery | None = None
        self._thread: LoopThread | None = None
        self._stats: RunStats = pipe.standing.stats
        self._mover: int | None = None  # the thread that takes items over, while it does

    def __iter__(self) -> SyncBatches:
        return self

    def __next__(self) -> Any:
        delivery, thread = self._delivery, self._thread
        assert delivery is not None
        assert thread is not None
        while not delivery:
            if delivery.exhausted:
                raise StopIteration
            if delivery.closed:
                raise PipelineError("the pipeline was closed")
            if self._mover is not None:
                raise PipelineError(_CUT_OFF)
            output = thread.output
            assert output is not None
            if not output.ready():
                start_recorded()  # the devices compute what is recorded while this thread waits
            began = time.perf_counter()
            more = output.wait_blocking()
            self._stats.waited += time.perf_counter() - began
            if not more:
                delivery.exhausted = True
                self._stats.ended = time.perf_counter()
            else:
                self._mover = get_ident()
                delivery.load(output.take(max(1, output.capacity // 4)))
                self._mover = None
        return delivery.take()

    def start(self) -> None:
        """Claims the pipeline, and starts a run of it. Raises PipelineError while another one has it."""
        standing = self._pipe.standing
        delivery = self._delivery = standing.begin(self._pipe, self)
        self._stats = standing.stats
        thread = self._thread = LoopThread(weakref.ref(self))
        delivery.ended, delivery.wait = thread.ended, thread.wait
        thread.start(self._pipe, delivery, standing.stats)
        thread.wait_ready()
        if thread.output is None:
            assert thread.error is not None
            raise thread.error

    def close(self) -> None:
        """Ends the run; returns within about a second. May be called again, and from any thread.

        Closed by another thread than the one that iterates, an item that is being handed over may not count.
        """
        delivery = self._delivery
        if self._thread is not None:
            self._thread.wait()
        if delivery is None:
            return
        delivery.closed = True  # no further items are taken over
        until = time.monotonic() + _MOVING_SECONDS
        while self._mover not in (None, get_ident()) and time.monotonic() < until:
            time.sleep(0.001)  # by another thread; for ever, where an interrupt cut that off
        self._pipe.standing.end(delivery)
