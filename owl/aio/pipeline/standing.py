"""Where a pipeline stands between its runs, and which run has it now."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from owl.aio.pipeline.delivery import Delivery
from owl.aio.pipeline.errors import PipelineError
from owl.aio.pipeline.state import Ledger
from owl.aio.pipeline.stats import RunStats

if TYPE_CHECKING:
    from owl.aio.pipeline.builder import Pipeline


class Position(NamedTuple):
    """An epoch, the positions of it that were delivered, and whether the next run goes on there in any case."""

    epoch: int
    ledger: Ledger
    resuming: bool


class _Active(NamedTuple):
    """A run: who takes its items, as long as anything else holds that, and what it was given."""

    consumer: weakref.ref[Any]
    delivery: Delivery


_RUN = "run"


class Standing:
    """The position of one pipeline, and its run.

    A run has the pipeline until its consumer closes it. A consumer that an interrupt has kept from that still lets go
    of it, by being dropped or by the end of what fed it. Nothing here holds a lock, for an interrupt would leave that
    locked: a claim is one operation of a dictionary, a change of the position one assignment.
    """

    def __init__(self) -> None:
        self.position = Position(0, Ledger(), False)
        self.stats = RunStats()
        self._claims: dict[str, _Active] = {}

    @property
    def epoch(self) -> int:
        return self.position.epoch

    @property
    def delivery(self) -> Delivery | None:
        """What the run that has the pipeline has delivered."""
        active = self._claims.get(_RUN)
        return None if active is None else active.delivery

    def begin(self, pipe: Pipeline, consumer: Any) -> Delivery:
        """Claims the pipeline for a consumer, for the next run. Raises PipelineError while another one has it.

        Waits, for a second at most, for a run that was left without being closed.
        """
        self.release_abandoned()
        if _RUN in self._claims:
            gc.collect()  # the consumer may be held by the traceback of an interrupt alone
            self.release_abandoned()
        position = self.position
        if position.ledger and not position.resuming:
            position = Position(position.epoch + 1, Ledger(), False)
        stats = RunStats()
        delivery = Delivery(pipe, position.epoch, position.ledger, stats)
        claim = _Active(weakref.ref(consumer), delivery)
        if self._claims.setdefault(_RUN, claim) is not claim:
            raise PipelineError(
                "this pipeline is running already; close() ends that run; declare a second pipeline to run two at once"
            )
        self.stats = stats
        self.position = position._replace(resuming=False)
        return delivery

    def end(self, delivery: Delivery) -> None:
        """Gives the pipeline back. May be called again."""
        active = self._claims.get(_RUN)
        if active is None or active.delivery is not delivery:
            return
        delivery.close()
        if delivery.exhausted:
            self.position = Position(delivery.epoch + 1, Ledger(), False)
        self._claims.pop(_RUN, None)

    def release_abandoned(self) -> None:
        """Gives the pipeline back in place of a consumer that is gone, or whose run has ended."""
        active = self._claims.get(_RUN)
        if active is None:
            return
        if active.consumer() is None:
            active.delivery.wait()
        elif not active.delivery.ended():
            return
        self.end(active.delivery)

    def consumer(self) -> Any:
        """Who takes the items of the run that has the pipeline, or None."""
        active = self._claims.get(_RUN)
        return None if active is None else active.consumer()

    def settled(self) -> Position:
        """The position with all that was handed over. For the consumer's thread."""
        self.release_abandoned()
        delivery = self.delivery
        if delivery is not None:
            delivery.settle()
        return self.position

    def move(self, position: Position) -> None:
        """Puts the pipeline to another position. Raises PipelineError while it runs."""
        self.release_abandoned()
        if self.delivery is not None:
            raise PipelineError("a running pipeline cannot load a state")
        self.position = position

    def follow_epoch(self, epoch: int) -> None:
        """Puts it to the beginning of an epoch, unless it runs."""
        self.release_abandoned()
        if self.delivery is None:
            self.position = Position(epoch, Ledger(), False)
