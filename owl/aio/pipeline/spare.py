"""Worker processes between two epochs: starting one takes a third of a second, so an epoch leaves them to the next."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owl.aio.pipeline.process import ProcessWorker


class SpareProcesses:
    """Idle worker processes of one pipeline, by stage; any thread may use it.

    They end with ``owner``, by ``close``, or by themselves when nothing has come for a while.
    """

    def __init__(self, owner: object) -> None:
        self._workers: dict[str, list[ProcessWorker]] = {}
        self._lock = threading.RLock()  # a finalizer may run inside an allocation of the thread that holds the lock
        self._pid = os.getpid()
        weakref.finalize(owner, self.close)

    def take(self, stage: str) -> ProcessWorker | None:
        with self._lock:
            workers = self._workers.get(stage)
            return workers.pop() if workers else None

    def add(self, stage: str, worker: ProcessWorker) -> None:
        with self._lock:
            self._workers.setdefault(stage, []).append(worker)

    def close(self) -> None:
        """Ends them all."""
        with self._lock:
            workers = [worker for stage in self._workers.values() for worker in stage]
            self._workers.clear()
        if os.getpid() != self._pid:
            return  # in a forked child: they are the parent's
        for worker in workers:
            worker.abort()
        for worker in workers:
            worker.close()
