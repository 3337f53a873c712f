"""Awaiting several arrays at a time, or everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from owl import NArray, _runtime


def gather(*arrays: NArray) -> Any:
    """Starts to compute several arrays as one plan; awaiting what it returns gives them as a list.

    One wake-up when all of them exist. If some fail, the first failure in the order of the arguments is raised, once
    none is under way any more. Does not block; the awaitable may be awaited several times, or be ignored, as
    `NArray.eval`'s.

    Examples
    --------
    >>> import asyncio
    >>> async def main():
    ...     a, b = await owl.aio.gather(owl.ones([1]) + 1, owl.ones([1]) + 2)
    ...     return float(a), float(b)
    >>> asyncio.run(main())
    (2.0, 3.0)
    """
    return _runtime.evaluate_together(arrays)


def as_completed(arrays: Iterable[NArray]) -> AsyncIterator[NArray]:
    """Starts to compute each of several arrays on its own, and gives them in the order in which they come to exist.

    An array that fails raises from the iteration, which ends there. Evaluation starts when this is called, not when the
    iteration begins; ending the iteration early does not stop it.

    Examples
    --------
    >>> import asyncio
    >>> async def main():
    ...     return sorted([float(x) async for x in owl.aio.as_completed([owl.ones([1]) * n for n in (1, 2, 3)])])
    >>> asyncio.run(main())
    [1.0, 2.0, 3.0]
    """
    return _in_order_of_completion([array.eval() for array in arrays])


async def _in_order_of_completion(evaluations: list[Any]) -> AsyncIterator[NArray]:
    arrived: asyncio.Queue[Any] = asyncio.Queue()
    arrive = arrived.put_nowait
    try:
        for evaluation in evaluations:
            evaluation.add_done_callback(arrive)
        for _ in evaluations:
            evaluation = await arrived.get()
            yield await evaluation
    finally:
        for evaluation in evaluations:
            evaluation.remove_done_callback(arrive)


async def wait_for_all() -> None:
    """Computes everything that was recorded and can still be seen, on all devices, and waits for it.

    As `owl.wait_for_all` it raises nothing about failed operations, but it does not block the loop. What other tasks
    and threads record meanwhile is not waited for.
    """
    done = _runtime.all_done_future()
    if done is not None:
        await done
