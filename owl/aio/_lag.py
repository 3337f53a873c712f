"""How long an event loop keeps its callbacks waiting, and which call was to blame."""

from __future__ import annotations

import asyncio
import linecache
import logging
import math
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from types import FrameType

from owl._runtime import OwlRuntimeError
from owl.aio._arguments import seconds

logger = logging.getLogger("owl.aio")

KEPT = 100_000  # samples


@dataclass(frozen=True)
class Hold:
    """One call that held the loop: for how many seconds, and where it was, as ``file:line in function: source``."""

    seconds: float
    where: str


class LagMonitor:
    """Measures how late an event loop calls a timer that is due every `interval` seconds.

    A context manager, used with ``async with`` (or ``with``, inside a coroutine). The figures may be read at any time,
    and after its end; they are in seconds, over the last 100,000 samples, and 0 where there is no sample. asyncio
    rounds timers up to whole milliseconds, so an idle loop has a lag of up to 1 ms.

    Parameters
    ----------
    interval : float
        Seconds between samples.
    debug : bool, optional
        Whether to look, from a thread, at what the loop does while it is held for longer than `hold`: each case is
        appended to `holds` and logged as a warning of the logger ``owl.aio``. By default the loop's own debug mode.
    hold : float
        Seconds.

    Examples
    --------
    >>> import asyncio
    >>> async def main():
    ...     async with owl.aio.LagMonitor(interval=0.001) as lag:
    ...         await asyncio.sleep(0.05)
    ...     return lag.count > 0 and 0 <= lag.p50 <= lag.p99 <= lag.worst
    >>> asyncio.run(main())
    True
    """

    def __init__(self, interval: float = 0.005, *, debug: bool | None = None, hold: float = 0.05) -> None:
        self.interval = seconds(interval, "interval", "LagMonitor", positive=True)
        self.hold = seconds(hold, "hold", "LagMonitor", positive=True)
        self.debug = debug
        self.holds: list[Hold] = []
        self._samples: deque[float] = deque(maxlen=KEPT)
        self._timer: asyncio.TimerHandle | None = None
        self._watch: _Watch | None = None

    # ------------------------------------------------------------------------------------------------------- figures

    @property
    def count(self) -> int:
        """How many samples the figures rest on."""
        return len(self._samples)

    @property
    def p50(self) -> float:
        """The median lag."""
        return self.percentile(50)

    @property
    def p99(self) -> float:
        """The lag that one sample in a hundred exceeds."""
        return self.percentile(99)

    @property
    def worst(self) -> float:
        """The greatest lag."""
        return self.percentile(100)

    def percentile(self, percent: float) -> float:
        """The smallest lag that at least `percent` of the samples do not exceed."""
        ordered = sorted(self._samples)
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0

    def __str__(self) -> str:
        return (
            f"loop lag: p50 {self.p50 * 1e3:.1f} ms, p99 {self.p99 * 1e3:.1f} ms, worst {self.worst * 1e3:.1f} ms "
            f"({self.count} samples)"
        )

    # ------------------------------------------------------------------------------------------------------ measuring

    def start(self) -> None:
        """Begins to measure the running loop."""
        if self._timer is not None:
            raise OwlRuntimeError("this LagMonitor measures already")
        loop = asyncio.get_running_loop()
        if loop.get_debug() if self.debug is None else self.debug:
            self._watch = _Watch(self.interval, self.hold)
        self._schedule(loop)

    def stop(self) -> None:
        """Ends measuring; does nothing if it has ended. The figures stay."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + self.interval
        self._timer = loop.call_at(due, self._tick, loop, due)

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        lag = max(0.0, loop.time() - due)
        self._samples.append(lag)
        if self._watch is not None and (where := self._watch.tick()) is not None:
            self.holds.append(Hold(lag, where))
            logger.warning("the event loop was held for %.0f ms by %s", lag * 1e3, where)
        self._schedule(loop)

    def __enter__(self) -> LagMonitor:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> LagMonitor:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()


class _Watch:
    """A thread that looks at what the loop's thread is doing when the next tick is overdue."""

    def __init__(self, interval: float, hold: float) -> None:
        self._watched = threading.get_ident()
        self._patience = interval + hold
        self._last = time.monotonic()
        self._caught: str | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(hold / 4,), name="owl-lag-monitor", daemon=True)
        self._thread.start()

    def tick(self) -> str | None:
        """Called by the loop; returns what held it since the last call, if anything did."""
        self._last = time.monotonic()
        caught, self._caught = self._caught, None
        return caught

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _look(self, period: float) -> None:
        while not self._stopped.wait(period):
            if self._caught is None and time.monotonic() - self._last > self._patience:
                frame = sys._current_frames().get(self._watched)
                if frame is not None:
                    self._caught = _describe(frame)


def _describe(frame: FrameType) -> str:
    """The innermost Python frame: a native call has none, and then this is the line that made it."""
    code = frame.f_code
    source = linecache.getline(code.co_filename, frame.f_lineno).strip()
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}: {source}".removesuffix(": ")
