"""`owl.testing.standin`, and what it builds."""

import subprocess
import sys
from pathlib import Path

import pytest

import owl
from owl.testing import _standin
from owl.testing._standin import building
from tests.gpu.contract.driving import SUCCESS, fresh

ROOT = Path(__file__).resolve().parents[3]

CHOOSING = """
import os, pytest, owl, owl.testing
from owl.testing import _standin
control = owl.testing.standin(devices=2, memory=1 << 20, fail=("cuInit", 1, 999), checked=True)
assert os.environ["OWL_CUDA_DRIVER"] == "standin"
assert _standin.library() == control.path and control.path.exists()
assert owl.testing.standin(seed=3) is control
for other in ({"devices": 1}, {"memory": 2 << 20}, {"lazy": True}, {"checked": False}):
    with pytest.raises(owl.DeviceError, match="a process has one stand-in"):
        owl.testing.standin(**other)
assert control.library.cuInit(0) == 999
assert control.library.cuInit(0) == 0
owl.testing.standin(seed=4)
"""

BY_VARIABLES = """
import owl, sys
from owl.testing import _standin
from owl.testing._standin.cupy import cuda
_standin.build = lambda checked, build=_standin.build: build(True)  # the one that there is
try:
    print(cuda.runtime.getDeviceCount(), cuda.Device(1).mem_info)
except owl.DeviceError as error:
    sys.exit(str(error))
"""


def test_a_process_chooses_once(python):
    done = python(CHOOSING)
    assert done.returncode == 0, done.stderr


def test_variables_choose_where_nothing_else_does(python):
    done = python(BY_VARIABLES, OWL_STANDIN_DEVICES="2", OWL_STANDIN_MEMORY="4096")
    assert done.stdout == "2 (4096, 4096)\n", done.stderr


@pytest.mark.parametrize("variable", ["OWL_STANDIN_DEVICES", "OWL_STANDIN_MEMORY"])
def test_a_variable_that_is_no_number_is_named(python, variable):
    done = python(BY_VARIABLES, **{variable: "many"})
    assert done.returncode == 1
    assert f"{variable} is a whole number above 0, not 'many'" in done.stderr


def test_the_library_is_built_once(path, capfd, monkeypatch):
    run = subprocess.run
    commands = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, **options: commands.append(command) or run(command, **options)
    )
    assert _standin.build(checked=True) == path
    assert [command[-1] for command in commands] == ["--version"]
    assert capfd.readouterr().err == ""


def test_the_plain_library_computes_too(tmp_path):
    driver = fresh(_standin.build(checked=False), tmp_path).started()
    first, second, address = driver.stream(), driver.stream(), driver.memory(64)
    for stream in (first, second):
        assert driver.call("cuMemcpyHtoDAsync_v2", address, bytes(64), 64, stream) == SUCCESS
    driver.ok("cuCtxSynchronize")
    assert driver.problems() == []  # it looks for nothing


def test_without_a_compiler_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(owl.DeviceError, match=r"no compiler 'no-such-compiler': install one .* CXX"):
        _standin.build(checked=True)


def test_a_text_that_does_not_compile_is_shown(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXXFLAGS", "-DOWL_BLOCKS=1 -fno-such-flag")
    with pytest.raises(owl.DeviceError, match="fno-such-flag"):
        _standin.build(checked=True)
    assert "building the stand-in driver (checked)" in capfd.readouterr().err
    assert not list(tmp_path.rglob("*.so"))


def test_all_that_it_is_made_of_is_installed(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    installed = tmp_path / "owl"
    texts = [*installed.rglob("*.cu"), *(installed / "testing" / "_standin").glob("*.cpp")]
    assert len(texts) >= 10
    command = [*building.compiler(), "-std=c++17", "-MM", "-x", "c++", f"-I{installed}", *map(str, texts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_the_library_is_made_of_is_in_its_name(monkeypatch):
    before = building.digest("plain")
    assert before != building.digest("checked")
    monkeypatch.setenv("CXXFLAGS", "-DX=1")
    assert before != building.digest("plain")
