"""Back-pressure: how far coroutines may record ahead of the devices."""

from __future__ import annotations

from owl import OwlValueError, _runtime

ON_FULL = ("block", "raise")


async def ready() -> None:
    """Waits until there is room to record on, without blocking the loop; returns at once if there is.

    Every other await of owl does the same before it returns at once, so a loop that awaits an array now and then need
    not.
    """
    room = _runtime.room_future()
    if room is None:
        return
    try:
        while room is not None:
            await room
            room = _runtime.room_future(True)
    finally:
        _runtime.pass_room_on()


def configure(*, on_full: str | None = None) -> dict[str, str]:
    """Chooses what happens in the whole process when a coroutine records further ahead than the bounds allow.

    Parameters
    ----------
    on_full : "block" or "raise", optional
        ``"block"``, the default of the process, waits for room: that blocks the event loop, and is warned about
        (RuntimeWarning) once for each line. ``"raise"`` raises `BackPressureError` instead, and the operation is not
        recorded. Threads that run no event loop wait for room in either case. None changes nothing.

    Returns
    -------
    dict
        The settings as they were before, which ``configure(**settings)`` brings back.

    Examples
    --------
    >>> before = owl.aio.configure(on_full="raise")
    >>> owl.aio.configure(**before)
    {'on_full': 'raise'}
    """
    if on_full is None:
        raising = _runtime.set_raise_when_full(False)
        _runtime.set_raise_when_full(raising)
    elif on_full in ON_FULL:
        raising = _runtime.set_raise_when_full(on_full == "raise")
    else:
        raise OwlValueError(f"[configure] on_full is one of {', '.join(ON_FULL)}, not {on_full!r}")
    return {"on_full": "raise" if raising else "block"}
