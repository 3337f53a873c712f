"""The CUDA kernels of `host.cpp`, by their names in the catalogue."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FLAGS = [
    *("-std=c++17", "-O2", "-Wall", "-Wextra", "-Wno-psabi", "-ffp-contract=off", "-fno-math-errno"),
    *("-fPIC", "-shared", f"-I{ROOT / 'owl'}", f"-I{ROOT}"),
]


class Kernels:
    """What `host.cpp` has, built with `options`."""

    def __init__(self, target: Path, *options: str) -> None:
        compiler = shlex.split(os.environ.get("CXX", "g++"))
        command = [*compiler, *FLAGS, *options, str(Path(__file__).parent / "host.cpp"), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        library = ctypes.CDLL(str(target))
        library.argument_bytes.argtypes = library.threads_of_a_block.argtypes = [ctypes.c_char_p]
        library.run_kernel.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64]
        library.run_sum.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64]
        library.run_kernel.restype = library.run_sum.restype = ctypes.c_char_p
        self.library = library

    def argument_bytes(self, name: str) -> int:
        """The size of what a kernel is launched with; -1 if there is no such kernel."""
        return self.library.argument_bytes(name.encode())

    def threads(self, name: str) -> int:
        """The threads of a block."""
        return self.library.threads_of_a_block(name.encode())

    def run(self, name: str, args: ctypes.Structure, blocks: int, seed: int = 1) -> None:
        """Runs a grid of blocks in an order that depends on the seed. AssertionError where threads race."""
        assert self.argument_bytes(name) == ctypes.sizeof(args), name
        error = self.library.run_kernel(name.encode(), ctypes.addressof(args), blocks, seed)
        assert error is None, error.decode()


def catalogue() -> list[str]:
    """The names of all CUDA kernels."""
    rows = (ROOT / "owl" / "_cuda" / "kernels" / "catalogue.def").read_text().splitlines()
    return [row.partition("(")[2].partition(",")[0] for row in rows if row.startswith("OWL_CUDA_KERNEL(")]
