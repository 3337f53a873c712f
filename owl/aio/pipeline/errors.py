"""What a pipeline raises: one exception that says where, on which item, and why."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any

from owl._runtime import OwlError


class PipelineError(OwlError, RuntimeError):
    """A pipeline was misdeclared, misused, or failed on an item.

    Attributes: ``stage`` (name or None), ``item`` (key of the item: its index in the source, or a tuple of indices
    for a batch; None when no item is concerned), ``epoch`` and ``attempts``. The original exception, with its
    traceback, is ``__cause__``.
    """

    def __init__(
        self,
        message: str,
        *,
        stage: str | None = None,
        item: Any = None,
        epoch: int | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.item = item
        self.epoch = epoch
        self.attempts = attempts


class StateError(PipelineError, ValueError):
    """What was to be loaded is no state of a pipeline, or was changed since it was saved."""


class WorkerDied(OwlError, RuntimeError):
    """A worker process ended while it held an item."""

    def __init__(self, pid: int | None, exitcode: int | None) -> None:
        super().__init__(f"worker process {pid} {_describe_exit(exitcode)}")
        self.pid = pid
        self.exitcode = exitcode

    def __reduce__(self):
        return type(self), (self.pid, self.exitcode)


class RemoteTraceback(Exception):
    """The text of a traceback that was printed in another process."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0])


@dataclass(slots=True)
class ItemFailure:
    """One item that a stage could not turn into a result."""

    key: Any
    error: BaseException
    attempts: int = 1
    bound: str = ""

    def as_error(self, stage: str, epoch: int) -> PipelineError:
        """The exception for the consumer; it is raised from the original one."""
        again = f" after {self.attempts} attempts" if self.attempts > 1 else ""
        what = f"{type(self.error).__name__}: {self.error}".rstrip(": ")
        error = PipelineError(
            f"stage {stage!r} failed on {describe_key(self.key)} (epoch {epoch}){again}{self.bound}: {what}",
            stage=stage,
            item=self.key,
            epoch=epoch,
            attempts=self.attempts,
        )
        error.__cause__ = self.error
        return error


def describe_key(key: Any) -> str:
    """How an item is called in messages: ``item 17``, or ``batch of 256 items (512 … 767)``."""
    if not isinstance(key, tuple):
        return f"item {key}"
    members = list(flatten_key(key))
    if len(members) == 1:
        return f"batch of item {members[0]}"
    return f"batch of {len(members)} items ({members[0]} … {members[-1]})"


def flatten_key(key: Any):
    """The indices of the source items behind a key, in order."""
    if isinstance(key, tuple):
        for member in key:
            yield from flatten_key(member)
    else:
        yield key


def _describe_exit(exitcode: int | None) -> str:
    if exitcode is None:
        return "closed its connection"
    if exitcode < 0:
        try:
            return f"was killed by {signal.Signals(-exitcode).name}"
        except ValueError:
            return f"was killed by signal {-exitcode}"
    return f"exited with status {exitcode}"
