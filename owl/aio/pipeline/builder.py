"""``Pipeline``: the declaration of how a source becomes batches, and the doors to running it."""

from __future__ import annotations

import copy
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from owl._runtime import OwlTypeError, OwlValueError
from owl.aio.pipeline import stages, state
from owl.aio.pipeline.buffers import BufferPool
from owl.aio.pipeline.collate import collate as stack
from owl.aio.pipeline.draw import draw_svg, draw_text
from owl.aio.pipeline.faces import AsyncBatches, SyncBatches
from owl.aio.pipeline.spare import SpareProcesses
from owl.aio.pipeline.standing import Position, Standing
from owl.aio.pipeline.stats import PipelineStats

MEBIBYTE = 1 << 20


class Pipeline:
    """Loads items from a source in the background, stage by stage; every stage is declared by a method.

    ``source``: an iterable, an async iterable, a map-style object (``__len__`` and ``__getitem__``), or a callable
    that makes one for each epoch. ``concurrency``: how many items of a map-style source are read at once. ``seed``:
    what items' randomness comes from (default: the seed of ``shuffle``, or 0). ``buffer_bytes``: how much may wait
    in all queues together. ``progress``: show a tqdm bar.

    Methods return a new pipeline and leave this one alone; nothing runs until it is iterated, by ``async with``,
    ``with``, ``for`` or ``async for``. Each iteration is one epoch; leaving one early ends it, and the next begins
    the next epoch. One pipeline runs once at a time; declare it on one thread, iterate it on any.

    >>> pipe = owl.aio.Pipeline(range(5)).map(lambda x: x * x).batch(2)
    >>> [batch.tolist() for batch in pipe]
    [[0, 1], [4, 9], [16]]
    """

    def __init__(
        self,
        source: Any,
        *,
        concurrency: int = 1,
        seed: int | None = None,
        buffer_bytes: int = 256 * MEBIBYTE,
        progress: bool = False,
    ) -> None:
        declared = stages.Source(source, stages.positive("concurrency", concurrency))
        stages.source_kind(source)
        self.stages: tuple[Any, ...] = (declared,)
        self.buffer_bytes = stages.positive("buffer_bytes", buffer_bytes)
        self.progress = progress
        self._seed = seed
        self._reset()

    def _reset(self) -> None:
        self.standing = Standing()
        # Batches of a GPU are stacked where it copies from.
        self.pool = BufferPool(
            8, next((stage.device for stage in self.stages if isinstance(stage, stages.ToDevice)), None)
        )
        self.spares = SpareProcesses(self)
        # Held weakly, so that an interrupt between opening a run and entering its block leaves it to be dropped.
        self._entered: weakref.ref[SyncBatches] | None = None
        self._entered_async: weakref.ref[AsyncBatches] | None = None

    # Declaring

    def shuffle(self, seed: int = 0, buffer: int = 1000) -> Pipeline:
        """Shuffles, differently in each epoch.

        A map-style source gets a permutation of all its items; a stream is shuffled within ``buffer`` items. Comes
        directly after the source. The order depends on ``seed`` and the epoch alone.
        """
        if len(self.stages) > 1:
            raise OwlValueError("shuffle() comes directly after the source, where it moves indices, not decoded items")
        return self._with(stages.Shuffle(int(seed), stages.positive("buffer", buffer)))

    def map(
        self,
        fn: Callable[..., Any],
        *,
        concurrency: int = 1,
        ordered: bool = True,
        executor: str | None = None,
        on_error: str = "raise",
        retries: int = 3,
        max_skips: int = 100,
        timeout: float | None = None,
        name: str | None = None,
    ) -> Pipeline:
        """Applies a function to each item, ``concurrency`` at once.

        A plain function runs in threads of the stage's own, or in spawned processes with ``executor="process"``
        (the function and its items must pickle); a coroutine function runs in tasks. A parameter named ``rng``
        receives a numpy Generator that depends only on seed, epoch, item and stage. ``ordered=False`` passes
        results on as they come. ``on_error``: ``"raise"``; ``"skip"``, at most ``max_skips`` items an epoch;
        ``"retry"``, at most ``retries`` times an item, then raise. ``timeout``: seconds an item may take (a thread
        cannot be stopped: it is left behind and replaced; a process is killed).
        """
        if not callable(fn):
            raise OwlTypeError(f"map() takes a function, not {type(fn).__name__}")
        if on_error not in stages.ON_ERROR:
            raise OwlValueError(f"on_error must be one of {stages.ON_ERROR}, not {on_error!r}")
        if timeout is not None and not timeout > 0:
            raise OwlValueError(f"timeout must be positive, not {timeout!r}")
        if retries < 0 or max_skips < 0:
            raise OwlValueError("retries and max_skips must not be negative")
        name = self._unused_name(name or stages.name_of(fn))
        return self._with(
            stages.Map(
                fn,
                stages.positive("concurrency", concurrency),
                ordered,
                stages.choose_executor(fn, executor, name),
                on_error,
                retries,
                max_skips,
                timeout,
                name,
                stages.takes_rng(fn),
            )
        )

    def batch(self, size: int, drop_last: bool = False, collate: Callable[[list], Any] | None = None) -> Pipeline:
        """Groups ``size`` items, stacked along a new first axis; the last batch may be smaller, or is dropped.

        Stacks numpy arrays, numbers, and tuples, lists and dicts of them; ``collate(items)`` replaces stacking.
        """
        return self._with(stages.Batch(stages.positive("size", size), bool(drop_last), collate or stack))

    def to_device(self, device: Any = None) -> Pipeline:
        """Makes NArrays on a device (default: the current one where a batch is taken) out of numpy arrays.

        Copies into reusable staging buffers, float32 unless ``OWL_DTYPE`` says otherwise, in a thread; records nothing
        until a batch is taken. Only ``prefetch`` may follow. As everywhere in owl, the shape of the NArray is the
        reverse of the numpy shape.
        """
        return self._with(stages.ToDevice(device))

    def prefetch(self, n: int = 2) -> Pipeline:
        """Bounds what waits at this place to ``n`` items (batches, after ``batch``)."""
        if isinstance(self.stages[-1], stages.Prefetch):
            raise OwlValueError("prefetch() follows prefetch()")
        return self._with(stages.Prefetch(stages.positive("n", n)))

    def _with(self, stage: Any) -> Pipeline:
        if self.stages_to_device and not isinstance(stage, stages.Prefetch):
            raise OwlValueError(f"{stage.name}() cannot follow to_device(), whose arrays exist once they are taken")
        pipe = copy.copy(self)
        pipe.stages = (*self.stages, stage)
        pipe._reset()
        return pipe

    def _unused_name(self, name: str) -> str:
        taken = {stage.name for stage in self.stages}
        number = 2
        unique = name
        while unique in taken:
            unique, number = f"{name}-{number}", number + 1
        return unique

    # What was declared

    @property
    def seed(self) -> int:
        """What items' randomness comes from."""
        if self._seed is not None:
            return self._seed
        return self.shuffling.seed if self.shuffling else 0

    @property
    def shuffling(self) -> stages.Shuffle | None:
        return next((stage for stage in self.stages if isinstance(stage, stages.Shuffle)), None)

    @property
    def stages_to_device(self) -> bool:
        return any(isinstance(stage, stages.ToDevice) for stage in self.stages)

    @property
    def batches(self) -> bool:
        return any(isinstance(stage, stages.Batch) for stage in self.stages)

    def __len__(self) -> int:
        """Items of an epoch, none being skipped. Raises TypeError when the source does not tell."""
        origin = self.stages[0].origin
        if stages.source_kind(origin) == "factory" or not hasattr(origin, "__len__"):
            raise OwlTypeError("the length of the source is not known")
        length = len(origin)
        for stage in self.stages:
            if isinstance(stage, stages.Batch):
                length = length // stage.size if stage.drop_last else -(-length // stage.size)
        return length

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Pipeline {' → '.join(stage.name for stage in self.stages)}>"

    def __str__(self) -> str:
        return draw_text(self)

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def to_svg(self) -> str:
        """A drawing of the stages, with the figures of the current or last run where there is one."""
        return draw_svg(self)

    # Running

    @property
    def epoch(self) -> int:
        """The epoch that is running, or the last one left early, or else the next."""
        return self.standing.epoch

    def __iter__(self) -> Iterator[Any]:
        batches = SyncBatches(self)
        try:
            batches.start()
            yield from batches
        finally:
            batches.close()

    def __enter__(self) -> SyncBatches:
        batches = SyncBatches(self)
        try:
            batches.start()
            self._entered = weakref.ref(batches)
        except BaseException:
            batches.close()
            raise
        return batches

    def __exit__(self, *exc: object) -> None:
        batches = self._entered() if self._entered is not None else None
        if batches is not None:
            batches.close()
        else:
            self.standing.release_abandoned()

    async def __aiter__(self) -> AsyncIterator[Any]:
        async with self as batches:
            async for batch in batches:
                yield batch

    async def __aenter__(self) -> AsyncBatches:
        batches = AsyncBatches(self)
        try:
            await batches.start()
            self._entered_async = weakref.ref(batches)
        except BaseException:
            await batches.close()
            raise
        return batches

    async def __aexit__(self, *exc: object) -> None:
        batches = self._entered_async() if self._entered_async is not None else None
        if batches is not None:
            await batches.close()

    def _follow_epoch(self, epoch: int) -> None:
        """As a source of another pipeline: serve that one's epoch, from the beginning."""
        self.standing.follow_epoch(epoch)

    def close(self) -> None:
        """Ends the run that ``with`` or ``for`` began, if there is one, and the worker processes kept for the next.

        Returns within about a second; may be called again, and from any thread. The pipeline can be iterated
        afterwards. A run in ``async with`` ends with its block.
        """
        consumer = self.standing.consumer()
        if isinstance(consumer, SyncBatches):
            consumer.close()
        self.standing.release_abandoned()
        self.spares.close()

    # Standing

    def state_dict(self) -> dict[str, Any]:
        """Where the epoch stands, as JSON-ready values: what has been handed to the consumer, and nothing else.

        Items in queues or under way count as not delivered, so nothing is lost or doubled on resuming; an item that
        was on its way to the consumer when an interrupt arrived counts as delivered. May be called between items by the
        thread that iterates.
        """
        position = self.standing.settled()
        return state.dump(position.epoch, position.ledger, self._fingerprint())

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Makes the next iteration go on where ``saved`` stands.

        Concurrency, prefetch, timeouts and devices may differ. Raises PipelineError for another pipeline's state, or
        while running; PipelineError that is a ValueError too for what is no state, or was changed since it was saved.
        """
        epoch, ledger = state.load(saved, self._fingerprint())
        self.standing.move(Position(epoch, ledger, True))

    def _fingerprint(self) -> list[str]:
        parts = [stage.identity() for stage in self.stages]
        return [f"seed {self.seed}", *(part for part in parts if part is not None)]

    def stats(self) -> PipelineStats:
        """Figures of the current run, or of the last: per stage, and a sentence about the bottleneck."""
        stats, delivery = self.standing.stats, self.standing.delivery
        if delivery is not None:
            stats.delivered = delivery.count()
        return stats.snapshot()
