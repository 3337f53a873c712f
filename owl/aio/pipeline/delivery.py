"""What was handed to a consumer, item by item."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from owl.aio.pipeline.chunk import Chunk
from owl.aio.pipeline.state import Ledger
from owl.aio.pipeline.stats import RunStats

if TYPE_CHECKING:
    from owl.aio.pipeline.builder import Pipeline


class _Hand:
    """The chunk whose items are being handed over; ``before``: how many items were handed over before it."""

    __slots__ = ("before", "chunk", "settled", "waiting")

    def __init__(self, chunk: Chunk, before: int) -> None:
        self.chunk = chunk
        self.before = before
        self.settled = 0
        self.waiting = chunk.values
        self.waiting.reverse()
        chunk.values = []  # so that an item lives no longer than its consumer wants


class Delivery:
    """Hands the items of one run over one by one, and knows which ones it has.

    It belongs to the consumer's thread, which may be interrupted between any two steps: each step is one assignment,
    or may be taken again. ``ended`` says whether the run has come to its end; ``wait`` waits for that, with a bound.
    """

    def __init__(self, pipe: Pipeline, epoch: int, ledger: Ledger, stats: RunStats) -> None:
        self.epoch = epoch
        self.ledger = ledger
        self.exhausted = False
        self.closed = False
        self.ended: Callable[[], bool] = bool  # not while it is being opened
        self.wait: Callable[[], Any] = bool
        self._stats = stats
        self._staged = pipe.stages_to_device
        self._bar = _progress_bar(pipe) if pipe.progress else None
        self._hand = _Hand(Chunk([], [], []), 0)

    def load(self, chunk: Chunk) -> None:
        """The next items to hand over; all before them have been."""
        self.settle()
        self._hand = _Hand(chunk, self._hand.before + len(self._hand.chunk.marks))
        if not self._hand.waiting:
            self.settle()

    def __bool__(self) -> bool:
        return bool(self._hand.waiting)

    def take(self) -> Any:
        value = self._hand.waiting.pop()
        if self._staged:
            value = value.take()
        if self._bar is not None:
            self._bar.update()
        return value

    def count(self) -> int:
        """How many items were handed over. May be called from any thread."""
        hand = self._hand
        return hand.before + len(hand.chunk.marks) - len(hand.waiting)

    def settle(self) -> Ledger:
        """Enters what was handed over since last time."""
        hand = self._hand
        marks = hand.chunk.marks
        taken = len(marks) - len(hand.waiting)
        self.ledger.add_all(marks[hand.settled : taken])
        hand.settled = taken
        if taken == len(marks):
            self.ledger.add_all(hand.chunk.skipped)
        return self.ledger

    def close(self) -> None:
        """Enters the rest, and hands nothing over any more."""
        self.closed = True
        self.settle()
        self._stats.delivered = self.count()
        self._hand = _Hand(Chunk([], [], []), self._stats.delivered)
        if self._bar is not None:
            self._bar.close()


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
