"""A worker process: spawned, never forked, replaced when it dies, and kept from one epoch to the next."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import struct
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from owl.aio.pipeline.chunk import Chunk
from owl.aio.pipeline.columns import pack, unpack
from owl.aio.pipeline.errors import ItemFailure, PipelineError, RemoteTraceback, WorkerDied
from owl.aio.pipeline.work import Outcome, Work

_INDEX = struct.Struct("<i")
_GRACE = 0.3
_PARK = b""  # in place of a chunk: the epoch is over
IDLE_SECONDS = 60.0  # an evaluation between two epochs is shorter, mostly


class ProcessWorker:
    """Runs chunks in one spawned process; used by one thread at a time, except for ``abort``.

    The first chunk starts the process, so that ``abort`` reaches one that is being started too. ``close`` ends the
    process, or leaves it parked for the next epoch if it was told to ``keep`` it.
    """

    def __init__(self, work: Work) -> None:
        self.keep: Callable[[ProcessWorker], None] | None = None
        self._process: Any = None
        self._aborted = False
        self.resume(work)

    def run(self, chunk: Chunk) -> Outcome:
        """As ``Work.run``; a death or a timeout is the failure of the item that the process held."""
        started = time.perf_counter()
        if not self._loaded:
            self._load()
        left = list(range(len(chunk)))
        attempts: dict[int, int] = {}
        skipped: list[tuple[int, ItemFailure]] = []
        outcome = Outcome(kept=[])
        while left:
            try:
                self._send(chunk, left)
                outcome = self._receive()
                break
            except _Lost as lost:
                at = left[min(lost.index, len(left) - 1)]
                attempts[at] = attempts.get(at, 0) + 1
                failure = ItemFailure(chunk.keys[at], lost.error, attempts[at])
                if self._aborted or not lost.restart:
                    return Outcome(failure=failure)
                self._stop()
                self._load()
                if self._work.on_error == "skip":
                    skipped.append((at, failure))
                    left.remove(at)
                elif attempts[at] > self._work.allowed_retries:
                    return Outcome(failure=failure, seconds=time.perf_counter() - started)
        if skipped:
            # Indices in the reply count what was sent; the chunk's own are wanted.
            kept = outcome.kept if outcome.kept is not None else range(len(outcome.values))
            outcome.kept = [left[i] for i in kept]
            outcome.skipped = skipped + [(left[i], failure) for i, failure in outcome.skipped]
        outcome.seconds = time.perf_counter() - started
        return outcome

    def abort(self) -> None:
        """From any thread: ends the process now, so that whoever waits for its answer returns."""
        self._aborted = True
        process = self._process
        if process is not None:
            try:
                process.kill()
            except ValueError:
                return  # closed by its own thread in the meantime

    def close(self) -> None:
        keep, self.keep = self.keep, None
        if keep is None or self._aborted or not self._loaded:
            self._stop()
            return
        try:
            self._connection.send_bytes(_PARK)
        except OSError:
            self._stop()
        else:
            keep(self)

    def resume(self, work: Work) -> None:
        """What the next chunks are for: for the parked process, or for a new one if that has ended."""
        self._work = work
        self._pickled = pickle.dumps(work, pickle.HIGHEST_PROTOCOL)
        self._loaded = False

    def _load(self) -> None:
        """Has a process load the work. Raises PipelineError when it cannot."""
        try:
            if self._process is None or not self._reload():
                self._stop()
                self._start()
        except BaseException:
            self._stop()
            raise
        self._loaded = True

    def _reload(self) -> bool:
        """Whether the parked process took the work; it may have ended by now."""
        try:
            self._connection.send_bytes(self._pickled)
            problem = self._connection.recv()
        except (EOFError, OSError):
            return False
        _check_loaded(problem)
        return True

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._progress, progress = context.Pipe(duplex=False)
        process = context.Process(target=_main, args=(theirs, progress, self._pickled, IDLE_SECONDS), daemon=True)
        try:
            process.start()
        except BaseException:
            self._connection.close()
            self._progress.close()
            raise
        finally:
            theirs.close()
            progress.close()
        self._process = process
        if self._aborted:
            process.kill()
        try:
            problem = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise PipelineError(
                f"a worker process exited with status {self._process.exitcode} before it was ready; a script that uses "
                "executor='process' must start its work under if __name__ == '__main__':"
            ) from None
        _check_loaded(problem)

    def _stop(self) -> None:
        if self._process is None:
            return
        self._loaded = False
        self._connection.close()
        self._process.join(0 if self._aborted else _GRACE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        # Another thread that starts a process looks after all children meanwhile; where it is the one that has heard of
        # this one's end, multiprocessing counts it as running here for a moment longer.
        with suppress(ValueError):
            self._process.close()
        self._process = None
        self._progress.close()

    def _send(self, chunk: Chunk, left: list[int]) -> None:
        keys, values = chunk.keys, chunk.values
        if len(left) < len(values):
            keys, values = [keys[i] for i in left], [values[i] for i in left]
        try:
            message = pickle.dumps((keys, pack(values)), pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            at = next((i for i, value in enumerate(values) if not _picklable(value)), 0)
            wrapped = PipelineError(f"a {type(values[at]).__name__} cannot be sent to a process: {error}")
            raise _Lost(at, wrapped, restart=False) from error
        try:
            self._connection.send_bytes(message)
        except OSError:
            raise self._death() from None

    def _receive(self) -> Outcome:
        timeout = self._work.timeout
        if timeout is not None and not wait([self._connection], timeout):
            raise _Lost(self._held(), TimeoutError(f"no result within {timeout} s; its process was killed"))
        try:
            reply = self._connection.recv_bytes()
        except (EOFError, OSError):
            raise self._death() from None
        self._held()
        outcome, values, texts = pickle.loads(reply)
        outcome.values = unpack(values)
        for failure, text in zip(_failures(outcome), texts, strict=True):
            failure.error.__cause__ = RemoteTraceback(text)
        return outcome

    def _held(self) -> int:
        """The index of the item that the process began last; empties the pipe of such words."""
        index = 0
        while self._progress.poll():
            try:
                words = os.read(self._progress.fileno(), 1 << 16)
            except OSError:
                break
            if len(words) < _INDEX.size:
                break
            (index,) = _INDEX.unpack(words[-_INDEX.size :])
        return index

    def _death(self) -> _Lost:
        self._process.join(_GRACE)
        return _Lost(self._held(), WorkerDied(self._process.pid, self._process.exitcode))


class _Lost(Exception):
    """No answer will come for what was sent."""

    def __init__(self, index: int, error: BaseException, restart: bool = True) -> None:
        super().__init__(index, error)
        self.index = index
        self.error = error
        self.restart = restart


def _check_loaded(problem: str | None) -> None:
    if problem is not None:
        raise PipelineError(f"the function cannot be loaded in a worker process: {problem}")


def _main(connection: Connection, progress: Connection, pickled: bytes, idle_seconds: float) -> None:
    """The life of a worker process: it ends when its connection does, or when it has been parked for too long."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    try:
        while _serve(connection, progress, pickled) and connection.poll(idle_seconds):
            pickled = connection.recv_bytes()
    except (EOFError, OSError):
        return


def _serve(connection: Connection, progress: Connection, pickled: bytes) -> bool:
    """Works on the chunks of one epoch; whether there may be another. Raises EOFError or OSError when left alone."""
    try:
        work: Work = pickle.loads(pickled)
    except BaseException as error:
        connection.send(f"{type(error).__name__}: {error}")
        return False
    connection.send(None)
    out = progress.fileno()

    def begin(index: int) -> None:
        os.write(out, _INDEX.pack(index))

    while (message := connection.recv_bytes()) != _PARK:
        keys, values = pickle.loads(message)
        connection.send_bytes(_pack(work.run(keys, unpack(values), begin), keys))
    return True


def _pack(outcome: Outcome, keys: list) -> bytes:
    texts = []
    for failure in _failures(outcome):
        texts.append("".join(traceback.format_exception(failure.error)))
        failure.error = _portable(failure.error)
    values, outcome.values = outcome.values, []
    try:
        return pickle.dumps((outcome, pack(values), texts), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        at = next((i for i, value in enumerate(values) if not _picklable(value)), 0)
        kind = type(values[at]).__name__
        index = at if outcome.kept is None else outcome.kept[at]
        refusal = TypeError(f"a result of type {kind} cannot be sent back from a process: {error}")
        return pickle.dumps((Outcome(failure=ItemFailure(keys[index], refusal)), [], [""]), pickle.HIGHEST_PROTOCOL)


def _failures(outcome: Outcome) -> list[ItemFailure]:
    failures = [failure for _, failure in outcome.skipped]
    return failures if outcome.failure is None else [*failures, outcome.failure]


def _portable(error: BaseException) -> BaseException:
    """The exception if it survives pickling, else one with its text."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception as problem:
        return RuntimeError(f"{type(error).__name__}: {error} (not picklable: {problem})")
    return RuntimeError(f"{type(error).__name__}: {error}")


def _picklable(value: Any) -> bool:
    try:
        pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return False
    return True
