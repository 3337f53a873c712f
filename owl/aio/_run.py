"""Starting an asyncio program."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Runs a coroutine in a new event loop and returns its result: `asyncio.run`, on uvloop where it is installed.

    Examples
    --------
    >>> async def main():
    ...     return float(await (owl.ones([1]) + 1))
    >>> owl.aio.run(main())
    2.0
    """
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main, debug=debug)
    return uvloop.run(main, debug=debug)
