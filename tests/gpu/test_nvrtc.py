"""The kernels by NVIDIA's run-time compiler."""

import os
import re
import shlex
import subprocess
import sys

import pytest

import owl
from owl._cuda import cache, catalogue, nvrtc

ARCHITECTURES = [75, 80, 90, 100, 120]


def test_the_texts_are_whole():
    assert catalogue.programs()
    for program in catalogue.programs():
        texts = catalogue.sources(program)
        assert next(iter(texts)) == f"_cuda/kernels/{program.name}"
        for name, text in texts.items():
            assert set(re.findall(r'#include "(.*)"', text)) <= texts.keys(), name
            assert not name.startswith(("/", "."))


def test_kernels_are_in_the_order_of_the_catalogue():
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    command = [
        *compiler,
        "-E",
        "-P",
        "-x",
        "c++",
        "-DOWL_CUDA_KERNEL(name, ...)=name",
        catalogue._KERNELS / "catalogue.def",
    ]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert list(catalogue.KERNELS) == names


def test_a_missing_compiler_is_an_error_that_says_what_to_type(monkeypatch):
    monkeypatch.setattr(nvrtc, "_places", lambda newest: ["libnvrtc.so.11", "libm.so.6"])
    with pytest.raises(owl.DeviceError, match=r"pip install 'owl-runtime\[cuda12\]'"):
        nvrtc.compiler.__wrapped__(12)


def found():
    try:
        return nvrtc.compiler()
    except owl.DeviceError:
        return None


FOUND = found()
needs_nvrtc = pytest.mark.skipif(not FOUND, reason="NVRTC is not installed")


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(catalogue.nvml, "major", lambda: FOUND.version[0])
    return tmp_path / "owl" / "kernels"


@needs_nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_is_compiled_for_every_architecture(empty_cache, architecture):
    cubins = catalogue.cubins(architecture)
    assert len(cubins) == len(catalogue.programs())
    assert all(cubin.startswith(b"\x7fELF") for cubin in cubins)
    kernels = {
        name
        for program in catalogue.programs()
        for name in catalogue.KERNELS
        if name.split("_")[0] == program.stem.split("_")[0]
    }
    assert kernels
    for name in kernels:
        assert sum(f"\0{name}\0".encode() in cubin for cubin in cubins) == 1, name


@needs_nvrtc
def test_the_cache_is_asked_first(empty_cache, monkeypatch):
    made = catalogue.cubins(80)
    assert len(list(empty_cache.iterdir())) == len(made)
    with monkeypatch.context() as patch:
        patch.setattr(nvrtc.Compiler, "compile", None)
        assert catalogue.cubins(80) == made
    first = min(empty_cache.iterdir())
    first.write_bytes(first.read_bytes()[:-1])
    assert catalogue.cubins(80) == made
    monkeypatch.setattr(nvrtc.Compiler, "compile", lambda *_: b"made anew")
    monkeypatch.setattr(nvrtc, "OPTIONS", (*nvrtc.OPTIONS, "--lineinfo"))
    assert catalogue.cubins(80) == [b"made anew"] * len(made)
    assert catalogue.cubins(90) == [b"made anew"] * len(made)


@needs_nvrtc
def test_a_changed_text_is_compiled_anew(empty_cache, monkeypatch):
    keys = []
    monkeypatch.setattr(cache, "kept", lambda key, make: keys.append(key) or b"")
    catalogue.cubins(80)
    whole = catalogue.sources
    monkeypatch.setattr(catalogue, "sources", lambda program: whole(program) | {"_cuda/kernels/args.h": "// other"})
    catalogue.cubins(80)
    assert len(set(keys)) == len(keys) == 2 * len(catalogue.programs())


@needs_nvrtc
def test_files_of_the_same_names_where_a_program_runs_are_not_taken(tmp_path, monkeypatch):
    for name in ("stdint.h", "args.h", "_cuda/kernels/args.h", "_engine/graph/words.h", "operations.def"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("#error another text")
    monkeypatch.chdir(tmp_path)
    [program] = [program for program in catalogue.programs() if program.stem == "copy"]
    assert FOUND.compile(catalogue.sources(program), 80, catalogue.OPTIONS)


@needs_nvrtc
def test_a_broken_text_is_an_error_with_the_first_lines_of_the_log():
    lines = "\n".join(f"    undefined_{number} = 1;" for number in range(50))
    with pytest.raises(owl.DeviceError) as caught:
        FOUND.compile({"broken.cu": f'#include "empty.h"\n__global__ void f() {{\n{lines}\n}}', "empty.h": ""}, 80)
    told = str(caught.value).splitlines()
    assert f"NVRTC {FOUND.version[0]}.{FOUND.version[1]}" in told[0]
    assert "cannot compile broken.cu for sm_80" in told[0]
    assert 'broken.cu(3): error: identifier "undefined_0" is undefined' in told[1]
    assert len(told) <= 1 + nvrtc.MOST_LINES


@needs_nvrtc
def test_an_unknown_architecture_is_an_error():
    with pytest.raises(owl.DeviceError, match=r"cannot compile a\.cu for sm_42"):
        FOUND.compile({"a.cu": "__global__ void f() {}"}, 42)


@needs_nvrtc
def test_a_newer_compiler_than_the_driver_is_not_taken(monkeypatch):
    monkeypatch.setattr(nvrtc, "_places", lambda newest: [FOUND.path])
    assert nvrtc.compiler.__wrapped__(FOUND.version[0]).version == FOUND.version
    with pytest.raises(owl.DeviceError, match="is not found"):
        nvrtc.compiler.__wrapped__(FOUND.version[0] - 1)


PROGRAM = """
import hashlib, sys
from owl._cuda import catalogue
catalogue.nvml.major = lambda: int(sys.argv[1])
print(hashlib.sha256(b"".join(catalogue.cubins(80))).hexdigest())
"""


@needs_nvrtc
def test_two_processes_compile_at_once(empty_cache):
    command = [sys.executable, "-c", PROGRAM, str(FOUND.version[0])]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert len(told[0]) == 65
    assert told[0] == told[1]
    assert {path.suffix for path in empty_cache.iterdir()} == {".cubin"}
