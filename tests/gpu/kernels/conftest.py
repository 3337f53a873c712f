"""The CUDA kernels, compiled as C++: with checks of shared arrays, and plain."""

import ctypes
import os
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def build(folder: Path, name: str, *options: str) -> ctypes.CDLL:
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    target = folder / f"{name}.so"
    flags = [
        "-std=c++17",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Wno-psabi",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fPIC",
        "-shared",
    ]
    source = Path(__file__).parent / "host.cpp"
    command = [*compiler, *flags, *options, f"-I{ROOT / 'owl'}", f"-I{ROOT}", str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(target))
    library.elementwise_size.restype = ctypes.c_size_t
    library.run_elementwise.restype = library.run_copy.restype = library.run_sum.restype = ctypes.c_char_p
    library.run_elementwise.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64]
    library.run_copy.argtypes = library.run_elementwise.argtypes
    library.run_sum.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64]
    return library


@pytest.fixture(scope="session", params=["checked", "plain"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels of `host.cpp`, built either way."""
    checked = request.param == "checked"
    return build(tmp_path_factory.mktemp("kernels"), request.param, f"-DOWL_CHECKED={int(checked)}")
