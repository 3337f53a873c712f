"""Start-up flags and the report of what owl runs on."""

from __future__ import annotations

import sys

from owl import _runtime
from owl._version import __version__

_FLAGS = {"--owl-threads": _runtime.set_num_threads, "--owl-seed": _runtime.seed}


def initialize(argv: list[str] | None = None) -> None:
    """Takes owl's own flags out of a program's arguments and applies them.

    Parameters
    ----------
    argv : list of str, optional
        Usually `sys.argv`; changed in place. ``--owl-threads=N`` sets the number of threads, ``--owl-seed=N`` seeds the
        random numbers. All else is left alone.

    Raises
    ------
    ValueError
        If a flag of owl's has no proper value.

    Notes
    -----
    Calling it is optional, and calling it again does no harm. It evaluates nothing.

    Examples
    --------
    >>> argv = ["train.py", "--owl-seed=7", "--epochs", "3"]
    >>> owl.initialize(argv)
    >>> argv
    ['train.py', '--epochs', '3']
    """
    if argv is None:
        return
    kept: list[str] = []
    settings = []
    arguments = iter(argv)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name not in _FLAGS:
            kept.append(argument)
            continue
        if not equals:
            value = next(arguments, "")
        try:
            settings.append((_FLAGS[name], int(value)))
        except ValueError:
            raise _runtime.OwlValueError(f"[initialize] {name} wants a whole number, not {value!r}") from None
    for apply, number in settings:
        apply(number)
    argv[:] = kept


def show_config(verbose: bool = False, file=None) -> None:
    """Prints versions, instruction set, threads, devices, and what is missing and why.

    Parameters
    ----------
    verbose : bool
        Adds the planner's counters and the native objects that are alive.
    file : text file, optional
        Standard output by default.
    """
    found = {"owl": __version__, **_runtime.config()}
    if verbose:
        found |= {f"planner {name}": str(value) for name, value in _runtime.planner_counters().items()}
        found |= {f"live {name}": str(value) for name, value in _runtime.debug_counters().items()}
    width = max(map(len, found))
    for name, value in found.items():
        print(f"{name:<{width}}  {value}", file=file or sys.stdout)


def memory_info(device: int | None = None) -> dict[str, int]:
    """The sizes of a device's memory, in bytes.

    Parameters
    ----------
    device : owl.Device, optional
        By default the current device. All CPU devices share the host's memory.

    Returns
    -------
    dict
        ``in_use``; ``cached`` for the next arrays; ``peak``, the most ever in use at once; ``limit``, 0 for none
        (`owl.testing.memory_limit`).

    Notes
    -----
    It evaluates nothing and does not block; any thread may call it.

    Examples
    --------
    >>> sorted(owl.memory_info())
    ['cached', 'in_use', 'limit', 'peak']
    """
    return _runtime.memory_info(_runtime.get_device() if device is None else device)
