"""owl in asyncio programs: arrays are awaited, and nothing here blocks the event loop.

>>> import asyncio
>>> import owl.aio
>>> async def main():
...     x = owl.ones([2, 3])
...     return await owl.aio.to_numpy(x * 2)
>>> asyncio.run(main())
array([[2., 2.],
       [2., 2.],
       [2., 2.]], dtype=float32)
"""

from typing import Any

from owl._runtime import BackPressureError
from owl.aio._batcher import Batcher, BatcherError
from owl.aio._files import load, save
from owl.aio._gather import as_completed, gather, wait_for_all
from owl.aio._lag import Hold, LagMonitor
from owl.aio._pressure import configure, ready
from owl.aio._run import run
from owl.aio._transfer import from_numpy, to_numpy

__all__ = [
    "BackPressureError",
    "Batcher",
    "BatcherError",
    "Hold",
    "LagMonitor",
    "Pipeline",
    "PipelineError",
    "as_completed",
    "configure",
    "from_numpy",
    "gather",
    "load",
    "ready",
    "run",
    "save",
    "to_numpy",
    "wait_for_all",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: most services load nothing through pipelines.
    if name in ("Pipeline", "PipelineError"):
        from owl.aio import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
