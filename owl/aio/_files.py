"""Arrays in files without blocking the event loop: a thread of the loop's pool reads and writes."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any

from owl import _runtime
from owl._files import save_load
from owl._files.names import nest_of
from owl.aio._pressure import ready


async def save(path: str | os.PathLike[str], nest: Any, /, **metadata: str) -> None:
    """Writes the arrays of a nest into a file, as `owl.save` does. Does not block the loop.

    The values are those of the moment of the call's first step, whatever the arrays are pointed at meanwhile. If it is
    cancelled, the file is the old one, or the whole new one if that was in place already; no thread writes any more
    when the cancellation is raised.

    Examples
    --------
    >>> import asyncio, tempfile
    >>> async def main(path):
    ...     await owl.aio.save(path, {"w": owl.ones([2]) * 3}, step="1")
    ...     return (await owl.aio.load(path))["w"].to_numpy()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     asyncio.run(main(folder + "/net"))
    array([3., 3.], dtype=float32)
    """
    arrays = save_load.checked(nest, metadata)
    values = {name: _runtime.value_on_host(array) for name, array in arrays.items()}
    await _runtime.evaluate_together(values.values())
    cancelled = False
    writing = asyncio.get_running_loop().run_in_executor(
        None, save_load.write, path, values, metadata, lambda: not cancelled
    )
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        cancelled = True
        # Else a file that is saved next could be replaced by this one.
        while not writing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([writing])
        if not writing.cancelled():
            writing.exception()  # retrieved: the cancellation is the news
        raise


async def load(path: str | os.PathLike[str], device: int | None = None) -> Any:
    """Reads the arrays of a safetensors file, as `owl.load` does. Does not block the loop.

    Waits for room first (see `ready`).
    """
    with save_load.on(device):
        await ready()
        arrays = await asyncio.get_running_loop().run_in_executor(None, save_load.read, path)
        return nest_of({name: save_load.borrowed(array) for name, array in arrays.items()})
