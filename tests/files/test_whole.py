"""Files that are written keep their place and their mode; what is no regular file is left alone."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from owl._files.whole import FileRefused, write_whole


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "new").read_bytes() == b"content"
    assert mode_of(tmp_path / "new") == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o775])
def test_a_replaced_file_passes_its_mode_on(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode_of(path) == mode
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user, which root alone may")
def test_a_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"old")
    os.chown(path, 12345, 12346)
    write_whole(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target, middle, link = folder / "target", tmp_path / "middle", tmp_path / "link"
    if exists:
        target.write_bytes(b"old")
    middle.symlink_to(Path("elsewhere") / "target")
    link.symlink_to(middle)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert middle.is_symlink()
    assert target.read_bytes() == b"new"
    assert list(folder.iterdir()) == [target]


def test_a_link_that_leads_round_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(FileRefused, match="symbolic links"):
        write_whole(tmp_path / "a", b"new")


def test_what_is_no_regular_file_is_refused_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    with listener:
        for kind in ("pipe", "folder", "socket"):
            before = (tmp_path / kind).stat()
            with pytest.raises(FileRefused, match=f"is a {kind}"):
                write_whole(tmp_path / kind, b"new")
            assert os.path.samestat(before, (tmp_path / kind).stat())
    with pytest.raises(FileRefused, match="is a device"):
        write_whole(Path(os.devnull), b"new")
    (tmp_path / "link").symlink_to(os.devnull)
    with pytest.raises(FileRefused, match="is a device"):
        write_whole(tmp_path / "link", b"new")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_whole(path, b"new")
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import sys
from pathlib import Path
from owl._files import whole
import os
def hang(descriptor):
    print("written", flush=True)
    sys.stdin.read()
os.fsync = hang
whole.write_whole(Path(sys.argv[1]), b"new")
"""


def test_a_process_that_is_killed_while_it_writes_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"old")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "written\n"
        finally:
            process.kill()
            process.wait(60)
    assert path.read_bytes() == b"old"
    left = list(tmp_path.iterdir())
    # Where the file system has no files without a name, the one that was being written is left.
    assert left == [path] or not has_nameless_files(tmp_path)


def has_nameless_files(folder: Path) -> bool:
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY))
    except OSError:
        return False
    return True


def test_the_file_is_on_the_disk_before_it_is_moved_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "old", []
    path.write_bytes(b"old")

    def sync(descriptor: int) -> None:
        synced.append((stat.S_IFMT(os.fstat(descriptor).st_mode), path.read_bytes()))

    monkeypatch.setattr("os.fsync", sync)
    write_whole(path, b"new")
    assert synced == [(stat.S_IFREG, b"old"), (stat.S_IFDIR, b"new")]


@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_file_system_that_syncs_no_folders_is_none_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, raises: bool
) -> None:
    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", sync)
    with pytest.raises(FileRefused, match=os.strerror(number)) if raises else nullcontext():
        write_whole(tmp_path / "new", b"new")
    assert (tmp_path / "new").read_bytes() == b"new"


def test_a_file_that_is_not_wanted_any_more_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"old")
    for asked in range(4):
        answers = iter([True] * asked + [False] * 9)
        write_whole(path, bytes(9 << 20), lambda answers=answers: next(answers))
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("nameless", [True, False])
def test_nothing_is_left_of_a_file_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    if not nameless:  # as on a file system that has no files without a name
        monkeypatch.delattr("os.O_TMPFILE")
    path = tmp_path / "old"
    write_whole(path, b"old")
    before = list(tmp_path.iterdir())
    assert before == [path]
    assert path.read_bytes() == b"old"

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileRefused, match="cannot be written: No space left") as caught:
        write_whole(path, b"new")
    assert isinstance(caught.value.__cause__, OSError)
    write_whole(path, b"new", lambda: False)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == before
