"""How many items to hand over at once."""

from __future__ import annotations

from owl.aio.pipeline.channel import Channel, ThreadChannel

TARGET_SECONDS = 1e-3
MOST = 2048
GO_SECONDS = 20e-3  # how long a thread goes on by itself before it reports
_AHEAD_BYTES = 4 << 20  # beyond this, running further ahead hides nothing and only fills caches


class Pace:
    """About a millisecond's worth of items, so that hand-overs are cheap and slow items travel alone.

    ``unit``: how many items come out as one.
    """

    def __init__(
        self,
        concurrency: int,
        output: Channel | ThreadChannel,
        most: int = MOST,
        target: float = TARGET_SECONDS,
        unit: int = 1,
    ) -> None:
        self.items = 1
        self._concurrency = concurrency
        self._output = output
        self._most = most
        self._target = target
        self._unit = unit

    def update(self, items: int, seconds: float) -> None:
        """After a hand-over of so many items; also sizes the queue behind the stage where nobody else has."""
        output = self._output
        most = self._most if output.adaptive else min(self._most, max(1, output.capacity // 2) * self._unit)
        if output.item_bytes:
            most = min(most, max(1, int(output.max_bytes / 4 / output.item_bytes)) * self._unit)
        ideal = int(self._target * items / seconds) if seconds > 0 else most
        self.items = max(1, min(ideal, 2 * self.items, most))
        if output.adaptive:
            ahead = 4 * self.items // self._unit
            if output.item_bytes:
                ahead = min(ahead, int(_AHEAD_BYTES / output.item_bytes))
            output.capacity = max(2 * self._concurrency, ahead)
