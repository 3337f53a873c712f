"""What is kept of compiled kernels: found again, made anew where it is damaged, and never an error."""

import os
import subprocess
import sys

import pytest

from owl._cuda import cache

DATA = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "owl" / "kernels"


def never():
    raise AssertionError("it is kept, and was made all the same")


def test_what_was_made_is_found_again(folder):
    assert cache.folder() == folder
    assert cache.kept("a.cubin", lambda: DATA) == DATA
    assert cache.kept("a.cubin", never) == DATA
    assert [path.name for path in folder.iterdir()] == ["a.cubin"]
    assert cache.kept("b.cubin", lambda: b"other") == b"other"
    assert cache.kept("a.cubin", never) == DATA


@pytest.mark.parametrize("damage", ["flipped", "cut", "short", "empty", "longer"])
def test_a_damaged_file_is_made_anew(folder, damage):
    cache.kept("a.cubin", lambda: DATA)
    path = folder / "a.cubin"
    held = path.read_bytes()
    bad = {
        "flipped": held[:99] + bytes([held[99] ^ 1]) + held[100:],
        "cut": held[:-1],
        "short": held[:20],
        "empty": b"",
        "longer": held + b"\0",
    }[damage]
    path.write_bytes(bad)
    assert cache.kept("a.cubin", lambda: DATA) == DATA
    assert path.read_bytes() == held


@pytest.mark.parametrize("way", ["file", "relative", "readonly"])
def test_a_folder_that_cannot_be_used_is_no_error(tmp_path, monkeypatch, way):
    if way == "file":
        (tmp_path / "owl").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    elif way == "relative":
        monkeypatch.setenv("XDG_CACHE_HOME", "here")
        monkeypatch.setenv("HOME", "/dev/null")
        monkeypatch.chdir(tmp_path)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/self")  # which takes no folders, root's neither
    made = []
    for _ in range(2):
        assert cache.kept("a.cubin", lambda: made.append(1) or DATA) == DATA
    assert len(made) == 2
    assert not (tmp_path / "here").exists()


def test_what_cannot_be_made_leaves_nothing(folder):
    with pytest.raises(ZeroDivisionError):
        cache.kept("a.cubin", lambda: b"" * (1 // 0))
    assert not folder.exists()


def test_the_oldest_files_go(folder, monkeypatch):
    monkeypatch.setattr(cache, "MOST_FILES", 3)
    folder.mkdir(parents=True)
    (folder / ".old.cubin.partial").write_bytes(b"of a process that was killed")
    os.utime(folder / ".old.cubin.partial", (1, 1))
    for age, name in enumerate("abc"):
        cache.kept(name, lambda: DATA)
        os.utime(folder / name, (100 + age, 100 + age))
    cache.kept("a", never)  # and is the youngest now
    cache.kept("d", lambda: DATA)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "c", "d"]


PROGRAM = """
import random, sys, time
from owl._cuda import cache

for turn in range(60):
    key = f"{random.randrange(6)}.cubin"
    data = key.encode() * 50_000
    assert cache.kept(key, lambda: data) == data
    if turn % 5 == 0:
        (cache.folder() / key).unlink(missing_ok=True)
"""


def test_processes_do_not_disturb_each_other(folder):
    running = [subprocess.Popen([sys.executable, "-c", PROGRAM]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert all(path.suffix == ".cubin" for path in folder.iterdir())
