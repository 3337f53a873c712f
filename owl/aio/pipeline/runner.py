"""One run of a pipeline: its stages on one event loop, under one scope that ends them all within a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from owl._runtime import OwlTypeError
from owl.aio.pipeline import stages
from owl.aio.pipeline.channel import Channel, ThreadChannel
from owl.aio.pipeline.collate import collate
from owl.aio.pipeline.errors import PipelineError
from owl.aio.pipeline.fuse import FusedRun, Link, can_go
from owl.aio.pipeline.source import AsyncStream, IndexSupply, ThreadStream, call_in_thread, picker
from owl.aio.pipeline.stage import Grouper, StageRun, Supply
from owl.aio.pipeline.state import Ledger
from owl.aio.pipeline.stats import Meter, RunStats, widen_advice
from owl.aio.pipeline.work import Work

if TYPE_CHECKING:
    from owl.aio.pipeline.builder import Pipeline

SHUTDOWN_SECONDS = 0.8
_ADAPTIVE_START = 2


@dataclass(slots=True)
class _Spec:
    """A stage that is to be started, and the queue behind it; ``options`` are those of ``StageRun``."""

    name: str
    work: Work
    output: Channel | ThreadChannel
    advice: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def fusible(self) -> bool:
        """One plain thread, which nobody watches."""
        one = self.options.get("concurrency", 1) == 1 and self.options.get("executor", "thread") == "thread"
        return one and self.work.timeout is None


def _groups(specs: list[_Spec]) -> list[list[_Spec]]:
    """Neighbours that may share a thread: the queue between them is nobody's wish."""
    groups: list[list[_Spec]] = []
    for spec in specs:
        before = groups[-1][-1] if groups else None
        if before is not None and before.fusible and spec.fusible and before.output.adaptive:
            groups[-1].append(spec)
        else:
            groups.append([spec])
    return groups


class Run:
    """Builds the stages of a declaration, starts them, and stops them.

    ``final`` is the class of the last queue: a ``Channel`` for a consumer on the same loop, a ``ThreadChannel`` for one
    in another thread. It is there from the beginning, so that the consumer can wait on it.
    """

    def __init__(
        self, pipe: Pipeline, epoch: int, delivered: Ledger, stats: RunStats, final: type[Channel] | type[ThreadChannel]
    ) -> None:
        self._pipe = pipe
        self._epoch = epoch
        self._delivered = delivered.copy()
        self.stats = stats
        self.stopping = self.stopped = False
        self._tasks: list[asyncio.Task[None]] = []
        self._stages: list[StageRun | FusedRun | AsyncStream | ThreadStream] = []
        self._declared = [stage for stage in pipe.stages if not isinstance(stage, (stages.Shuffle, stages.Prefetch))]
        self._capacities = _capacities(pipe.stages)
        self._final = final
        self.output = self._channel(len(self._declared) - 1, final)

    async def start(self) -> None:
        """Starts every stage. Raises PipelineError when the source cannot be opened."""
        supply: Any
        supply, specs = await self._start_source()
        salt = 0
        for at, stage in enumerate(self._declared[1:], 1):
            if isinstance(stage, stages.Map):
                work = Work(
                    stage.fn,
                    stage.takes_rng,
                    self._pipe.seed,
                    self._epoch,
                    salt,
                    stage.on_error,
                    stage.retries,
                    stage.timeout,
                )
                salt += stage.takes_rng
                spec = _Spec(stage.name, work, self._output(at), widen_advice(stage.concurrency, stage.executor))
                spec.options = {
                    "concurrency": stage.concurrency,
                    "ordered": stage.ordered,
                    "executor": stage.executor,
                    "max_skips": stage.max_skips,
                    "spares": self._pipe.spares,
                }
            elif isinstance(stage, stages.Batch):
                stack = partial(collate, pool=self._pipe.pool) if stage.collate is collate else stage.collate
                work = Work(stack, epoch=self._epoch)
                spec = _Spec(stage.name, work, self._output(at), "give it smaller items or a faster collate")
                spec.options = {"grouper": Grouper(stage.size, stage.drop_last)}
            else:
                from owl.aio._staging import StagingRing

                before = self._declared[at - 1]
                fresh = isinstance(before, stages.Batch) and before.collate is collate
                work = Work(StagingRing(stage.device, adopt=fresh).stage, epoch=self._epoch)
                spec = _Spec(stage.name, work, self._output(at), "copying is the limit: use a smaller dtype")
            specs.append(spec)
        for group in _groups(specs):
            if len(group) > 1 or (group[0].fusible and can_go(supply, group[0].output)):
                self._fuse(group, supply)
            else:
                self._add(group[0], supply)
            supply = group[-1].output

    async def _start_source(self) -> tuple[Any, list[_Spec]]:
        """Where the first stage takes from; a map-style source is a stage itself, which is not started yet."""
        declared = self._declared[0]
        origin = declared.origin
        try:
            kind = stages.source_kind(origin)
            if kind == "factory":
                origin = await call_in_thread("source", origin)
                kind = stages.source_kind(origin)
                if kind == "factory":
                    raise OwlTypeError("a source factory returned another factory")
            if kind == "map-style":
                indices = IndexSupply(len(origin), self._pipe.shuffling, self._epoch, self._delivered)
        except Exception as error:
            message = f"stage 'source' cannot be opened (epoch {self._epoch}): {type(error).__name__}: {error}"
            raise PipelineError(message, stage="source", epoch=self._epoch) from error
        if hasattr(origin, "_follow_epoch"):
            origin._follow_epoch(self._epoch)
        output = self._output(0)
        if kind == "map-style":
            read = origin.__getitem__
            executor = "task" if stages.is_coroutine_function(read) else "thread"
            work = Work(read, epoch=self._epoch, many=picker(origin))
            spec = _Spec("source", work, output, widen_advice(declared.concurrency, executor))
            spec.options = {"concurrency": declared.concurrency, "executor": executor}
            return indices, [spec]
        advice = "make it faster, or give it as map-style (__len__, __getitem__) so that it can be read concurrently"
        meter = self.stats.meter("source", 1, advice)
        stream = (AsyncStream if kind == "async" else ThreadStream)(
            origin, self._pipe.shuffling, self._epoch, self._delivered, output, meter
        )
        self._stages.append(stream)
        self._spawn("source", stream.run, output)
        return output, []

    def _meter(self, spec: _Spec) -> Meter:
        return self.stats.meter(spec.name, spec.options.get("concurrency", 1), spec.advice)

    def _add(self, spec: _Spec, supply: Supply, meter: Meter | None = None) -> None:
        self._start_stage(
            spec.name, StageRun(spec.name, spec.work, supply, spec.output, meter or self._meter(spec), **spec.options)
        )

    def _fuse(self, group: list[_Spec], supply: Supply) -> None:
        links = []
        for spec in group:
            meter = self._meter(spec)
            meter.output = spec.output
            links.append(
                Link(spec.name, spec.work, meter, spec.options.get("max_skips", 0), spec.options.get("grouper"))
            )

        def part() -> None:
            origin: Any = supply
            for spec, link in zip(group, links, strict=True):
                self._add(spec, origin, link.meter)
                origin = spec.output

        fused = FusedRun(links, self._epoch, supply, group[-1].output, part)
        self._start_stage(f"{group[0].name}-{group[-1].name}", fused)

    def _start_stage(self, name: str, stage: StageRun | FusedRun) -> None:
        self._stages.append(stage)
        self._spawn(f"{name}-feed", stage.feed, stage.output)
        self._spawn(f"{name}-emit", stage.emit, stage.output)

    def _spawn(
        self, name: str, function: Callable[[], Coroutine[Any, Any, None]], output: Channel | ThreadChannel
    ) -> None:
        async def guarded() -> None:
            try:
                await function()
            except Exception as error:
                # Not an item's failure, which stages report in order: without this the consumer would wait for ever.
                output.close(error)

        self._tasks.append(asyncio.get_running_loop().create_task(guarded(), name=f"owl-{name}"))

    def _output(self, at: int) -> Channel | ThreadChannel:
        return self.output if at == len(self._declared) - 1 else self._channel(at, Channel)

    def _channel(self, at: int, kind: type[Channel] | type[ThreadChannel]) -> Any:
        fixed = self._capacities[at]
        max_bytes = max(1, self._pipe.buffer_bytes // len(self._declared))
        return kind(fixed or _ADAPTIVE_START, max_bytes, adaptive=fixed is None)

    async def stop(self, finished: bool) -> None:
        """Ends every task, thread and process; what hangs in a user's function is left behind after 0.8 s.

        After an epoch that has ``finished`` its worker processes stay for the next one.
        """
        self.stats.ended = time.perf_counter()
        until = self.stats.ended + SHUTDOWN_SECONDS
        for task in self._tasks:
            task.cancel()
        stopping = [asyncio.ensure_future(stage.stop(SHUTDOWN_SECONDS, finished)) for stage in self._stages]
        self.stopping = True
        waiting = {*self._tasks, *stopping}
        if waiting:
            await asyncio.wait(waiting, timeout=max(0.0, until - time.perf_counter()))
        # What ended them holds their frames, and these this run: the pipeline would live on until garbage is collected.
        self._tasks.clear()
        self.output.close(PipelineError("the pipeline was closed"))
        self.stopped = True

    def stop_soon(self) -> None:
        """On the loop: as ``stop``, in a task."""
        if not self.stopping:
            self._stop_task = asyncio.get_running_loop().create_task(self.stop(False))

    def abandon(self) -> None:
        """Makes its threads and processes end where there is no loop any more that could wait for them."""
        self.stopping = True
        for stage in self._stages:
            stage.abandon()


def _capacities(declared: tuple[Any, ...]) -> list[int | None]:
    """For each stage that runs, the bound of the queue behind it where prefetch gives one."""
    capacities: list[int | None] = []
    for stage in declared:
        if isinstance(stage, stages.Prefetch):
            capacities[-1] = stage.n
        elif not isinstance(stage, stages.Shuffle):
            capacities.append(None)
    return capacities
