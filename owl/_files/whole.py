"""Files that a user names to be written: what stands there is replaced whole, or stays."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)
_PIECE = 1 << 22  # bytes


class FileRefused(Exception):
    """A file cannot be written, or is none; the message says why, without the path."""


def writable_target(path: Path) -> Path:
    """The file that ``path`` names, symbolic links followed. Raises FileRefused if it cannot be written whole."""
    target = Path(os.path.realpath(path))
    try:
        found: os.stat_result | None = target.stat()
    except FileNotFoundError:
        found = None
    except OSError as error:
        raise FileRefused(error.strerror or str(error)) from error
    if found is not None:
        refuse_irregular(found.st_mode)
        if not os.access(target, os.W_OK):
            raise FileRefused("is not writable")
    folder = path.parent if not path.is_symlink() else target.parent  # as the user calls it, where that is right
    if not folder.is_dir():
        raise FileRefused(f"no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FileRefused(f"the folder {folder} is not writable")
    return target


def refuse_irregular(mode: int) -> None:
    """Raise FileRefused for the mode of anything but a regular file."""
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "no regular file")
        raise FileRefused(f"is {kind}")


def write_whole(path: Path, content: bytes, wanted: Callable[[], bool] | None = None) -> None:
    """Write a file aside and move it to ``path``, so that the old one or the whole new one stands there at any time.

    A symbolic link stays, and the file that it names is written. A file that is replaced passes its mode on, and its
    owner where that is allowed; a new one has the mode that the umask leaves. Anything but a regular file is refused.
    Raises FileRefused, with the OSError as its cause if there was one; whatever the reason, nothing is left beside the
    file. The old file stays, and nothing is raised, if ``wanted`` says no, which is asked after each piece.
    """
    target = writable_target(path)
    try:
        _write(target, content, wanted or _always)
    except OSError as error:
        raise FileRefused(f"cannot be written: {error.strerror or error}") from error


def _always() -> bool:
    return True


def _write(target: Path, content: bytes, wanted: Callable[[], bool]) -> None:
    aside = target.with_name(f".owl-{os.urandom(8).hex()}")
    descriptor, named = _open_aside(aside)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            with suppress(FileNotFoundError):
                _take_over(descriptor, target.stat())
            rest = memoryview(content)
            while rest and wanted():
                rest = rest[file.write(rest[:_PIECE]) :]
            if rest:
                return
            os.fsync(descriptor)
            if not wanted():
                return
            if not named:
                # The folder has no part in an absolute path, but only with one does Python follow the link.
                os.link(f"/proc/self/fd/{descriptor}", aside, src_dir_fd=descriptor, follow_symlinks=True)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk, too, where the folder may be opened and its file system knows of that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _open_aside(aside: Path) -> tuple[int, bool]:
    """A new file to write, and whether it has its name already: one without goes with a process that is killed."""
    if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
        with suppress(OSError):  # not every file system has such files
            return os.open(aside.parent, os.O_TMPFILE | os.O_WRONLY, 0o666), False
    return os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), True


def _take_over(descriptor: int, old: os.stat_result) -> None:
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
