"""Compiled kernels, kept on disk: `owl/kernels` under `$XDG_CACHE_HOME`, or under ~/.cache.

A file begins with the checksum of what follows, so that one that is cut or damaged is as good as none. Files are moved
into place when they are complete. A folder that cannot be used is no error: everything is compiled each time then.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from owl._cache import cache_folder

# About a dozen pairs of a version of owl and an architecture, some 40 MB, and 512 kernels of single programs.
MOST_FILES = 640


def folder() -> Path:
    """Where files are kept; it need not exist."""
    return cache_folder("kernels")


def kept(key: str, make: Callable[[], bytes]) -> bytes:
    """What was kept under this key, a file's name; if there is nothing, it is made and kept."""
    try:
        path = folder() / key
    except RuntimeError:  # there is no home
        return make()
    data = _read(path)
    if data is None:
        data = make()
        with contextlib.suppress(OSError):
            _write(path, data)
    return data


def _read(path: Path) -> bytes | None:
    try:
        held = path.read_bytes()
    except OSError:
        return None
    checksum, data = held[:32], held[32:]
    if hashlib.sha256(data).digest() != checksum:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the oldest files go first: the age is that of the last use
    return data


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent, delete=False) as file:
        partial = Path(file.name)
        try:
            file.write(hashlib.sha256(data).digest() + data)
            file.flush()
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    _trim(path.parent)


def _trim(place: Path) -> None:
    """Removes the oldest files beyond `MOST_FILES`, among them what killed processes have left."""
    ages = []
    for path in place.iterdir():
        with contextlib.suppress(OSError):  # another process removed it
            ages.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(ages, reverse=True)[MOST_FILES:]:
        with contextlib.suppress(OSError):
            path.unlink()
