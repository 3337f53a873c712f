"""Where files are kept that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """``$XDG_CACHE_HOME/owl/NAME``, which need not exist.

    ``~/.cache`` takes the variable's place where it is unset, empty or not absolute, as XDG's specification says.
    RuntimeError where there is no home folder either.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "owl" / name
