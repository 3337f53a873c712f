"""Loading that hides behind training: a declarative pipeline that runs on an event loop, the caller's or its own.

Declared in ``builder`` and ``stages``; built and stopped by ``runner``; consumed through ``faces``. Each stage at
work is a ``stage`` (or ``source``) between two ``channel`` objects, with ``workers`` (threads, tasks, or
``process``) that do its ``work`` on ``chunk`` objects; ``fuse`` runs neighbours in one thread.
"""

from owl.aio.pipeline.builder import Pipeline
from owl.aio.pipeline.errors import PipelineError, WorkerDied
from owl.aio.pipeline.stats import PipelineStats, StageStats

__all__ = ["Pipeline", "PipelineError", "PipelineStats", "StageStats", "WorkerDied"]
