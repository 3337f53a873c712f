"""Files that are written keep their place and their mode; what is no regular file is left alone."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from owl.apps.mnist.files import FileRefused, write_whole


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
from owl.apps.mnist import files
import os
def hang(descriptor):
    print("written", flush=True)
    sys.stdin.read()
os.fsync = hang
files.write_whole(Path(sys.argv[1]), b"new")
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
