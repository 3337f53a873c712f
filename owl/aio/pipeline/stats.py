"""What a run measures, and what it says about where the time goes."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field
from typing import Any

_PER_OCTAVE = 8
_HALF = 0.5  # of the time; a stage that is busy for less has time to spare


class Histogram:
    """Counts of durations in buckets, 8 per octave, so a quantile is within 9%."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, seconds: float, count: int) -> None:
        bucket = math.floor(math.log2(max(seconds, 1e-9)) * _PER_OCTAVE)
        self._counts[bucket] = self._counts.get(bucket, 0) + count

    def quantile(self, q: float) -> float:
        """In seconds; NaN when nothing was added."""
        left = q * sum(self._counts.values())
        for bucket in sorted(self._counts):
            left -= self._counts[bucket]
            if left <= 0:
                return 2 ** ((bucket + 0.5) / _PER_OCTAVE)
        return math.nan


class Meter:
    """Counts of one stage in one run; written on the loop only."""

    def __init__(self, name: str, concurrency: int, advice: str) -> None:
        self.name = name
        self.concurrency = concurrency
        self.advice = advice
        self.items = 0
        self.skipped = 0
        self.busy = 0.0
        self.starved = 0.0
        self.blocked = 0.0
        self.durations = Histogram()
        self.output: Any = None

    def record(self, items: int, seconds: float) -> None:
        self.items += items
        self.busy += seconds
        if items:
            self.durations.add(seconds / items, items)


@dataclass(frozen=True, slots=True)
class StageStats:
    """One stage of a run.

    ``rate``: items a second. ``busy``: share of its concurrency that was at work. ``starved`` and ``blocked``:
    share of the time that it waited for input, or for room behind it. ``depth`` of ``capacity`` items wait behind
    it. ``p50`` and ``p99``: seconds an item takes; items faster than a millisecond are timed in groups.
    """

    name: str
    concurrency: int
    items: int
    skipped: int
    rate: float
    busy: float
    starved: float
    blocked: float
    depth: int
    capacity: int
    p50: float
    p99: float
    advice: str = field(repr=False, default="")


@dataclass(frozen=True, slots=True)
class PipelineStats:
    """A run: its stages, how long it has lasted, what it delivered, and the share of time its consumer waited."""

    stages: tuple[StageStats, ...]
    seconds: float
    delivered: int
    waited: float

    @property
    def bottleneck(self) -> str:
        """One sentence: what limits the run, and what to change."""
        if not self.delivered:
            return "Nothing has been delivered yet."
        if self.waited < 0.05:
            return (
                f"Saturated: the consumer is the bottleneck, having waited {self.waited:.0%} of the time; "
                "loading is hidden, and only a faster consumer would gain."
            )
        stage = max(self.stages, key=lambda stage: stage.busy)
        waited = f"the consumer waited {self.waited:.0%} of the time"
        if stage.busy >= _HALF:
            return (
                f"Starved: {waited}, and the bottleneck is {stage.name!r} ({stage.busy:.0%} busy at "
                f"concurrency {stage.concurrency}, p50 {_duration(stage.p50)}); {stage.advice}."
            )
        if self.waited < _HALF:
            return f"Balanced: the consumer is the bottleneck: {waited}, and no stage was busy for half of it."
        together = sum(stage.busy for stage in self.stages)
        if together >= _HALF:
            return (
                f"Starved: {waited}, and no stage alone is the bottleneck: together they were busy for {together:.0%} "
                "of it; do less in them."
            )
        return (
            f"Starved: {waited}, but the stages together were busy for only {together:.0%} of it: the hand-over itself "
            "is the bottleneck; give larger items, or batch earlier."
        )

    def __str__(self) -> str:
        head = f"{'stage':<14}{'items/s':>10}{'busy':>7}{'starved':>9}{'blocked':>9}{'queue':>11}{'p50':>10}{'p99':>10}"
        rows = [
            f"{s.name[:13]:<14}{s.rate:>10.1f}{s.busy:>7.0%}{s.starved:>9.0%}{s.blocked:>9.0%}"
            f"{f'{s.depth}/{s.capacity}':>11}{_duration(s.p50):>10}{_duration(s.p99):>10}"
            for s in self.stages
        ]
        return "\n".join([head, *rows, self.bottleneck])


class RunStats:
    """The meters of a run and its consumer's."""

    def __init__(self) -> None:
        self.meters: list[Meter] = []
        self.started = time.perf_counter()
        self.ended: float | None = None
        self.delivered = 0
        self.waited = 0.0

    def meter(self, name: str, concurrency: int, advice: str) -> Meter:
        self.meters.append(Meter(name, concurrency, advice))
        return self.meters[-1]

    def snapshot(self) -> PipelineStats:
        seconds = max(1e-9, (self.ended or time.perf_counter()) - self.started)
        stages = tuple(
            StageStats(
                name=meter.name,
                concurrency=meter.concurrency,
                items=meter.items,
                skipped=meter.skipped,
                rate=meter.items / seconds,
                busy=min(1.0, meter.busy / seconds / meter.concurrency),
                starved=min(1.0, meter.starved / seconds),
                blocked=min(1.0, meter.blocked / seconds),
                depth=meter.output.items,
                capacity=meter.output.capacity,
                p50=meter.durations.quantile(0.5),
                p99=meter.durations.quantile(0.99),
                advice=meter.advice,
            )
            for meter in self.meters
        )
        return PipelineStats(stages, seconds, self.delivered, min(1.0, self.waited / seconds))


def widen_advice(concurrency: int, executor: str) -> str:
    """What to change where a function of one's own is the bottleneck."""
    if executor == "task" or concurrency < (os.cpu_count() or 1):
        return f"raise its concurrency above {concurrency}"
    if executor == "thread":
        return 'raise its concurrency if it mostly waits, use executor="process" if it holds the GIL, or do less in it'
    return "its processes fill the cores: do less in it"


def _duration(seconds: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return "-" if math.isnan(seconds) else f"{seconds * 1e9:.0f} ns"
