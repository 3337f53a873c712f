"""The rows of driver.def against CUDA's own header: a wrong parameter would be a wrong call."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CUDA = ROOT / "owl" / "_cuda"


def headers():
    """The folder of cuda.h, where a toolkit is installed."""
    places = [Path(nvcc).resolve().parents[1] / "include"] if (nvcc := shutil.which("nvcc")) else []
    places += [Path("/usr/local/cuda/include")]
    return next((place for place in places if (place / "cuda.h").exists()), None)


pytestmark = pytest.mark.skipif(not headers(), reason="CUDA's headers are not installed")

# Plain<T> is a type of cuda.h as driver.h writes it. Handles stay apart, so that one is not taken for another.
PLAIN = """
template <class T, bool = std::is_enum<T>::value>
struct Plain { using type = T; };
template <class T>
struct Plain<T, true> { using type = int; };
template <class T>
struct Plain<const T, false> { using type = const typename Plain<T>::type; };
template <class T>
struct Plain<T*, false> { using type = typename Plain<T>::type*; };
template <class R, class... P>
struct Plain<R (*)(P...), false> { using type = typename Plain<R>::type (*)(typename Plain<P>::type...); };
"""

PROGRAM = """
#include <cuda.h>
#include <type_traits>
#include "_cuda/driver.h"
namespace cuda = owl::cuda;

PLAIN
HANDLES
template <> struct Plain<::CUkernel, false> { using type = decltype(cuda::KernelNodeParameters::kernel); };
template <> struct Plain<::CUDA_KERNEL_NODE_PARAMS, false> { using type = cuda::KernelNodeParameters; };

// Fields of a struct, each of the same type and at the same place.
#define OWL_FIELD(theirs, ours) \\
    static_assert(std::is_same<Plain<decltype(CUDA_KERNEL_NODE_PARAMS::theirs)>::type, \\
                               decltype(cuda::KernelNodeParameters::ours)>::value && \\
                  offsetof(CUDA_KERNEL_NODE_PARAMS, theirs) == offsetof(cuda::KernelNodeParameters, ours), #theirs);
OWL_FIELD(func, function)
OWL_FIELD(gridDimX, grid_x)
OWL_FIELD(gridDimY, grid_y)
OWL_FIELD(gridDimZ, grid_z)
OWL_FIELD(blockDimX, block_x)
OWL_FIELD(blockDimY, block_y)
OWL_FIELD(blockDimZ, block_z)
OWL_FIELD(sharedMemBytes, shared_bytes)
OWL_FIELD(kernelParams, parameters)
OWL_FIELD(extra, extra)
OWL_FIELD(kern, kernel)
OWL_FIELD(ctx, context)
static_assert(sizeof(CUDA_KERNEL_NODE_PARAMS) == sizeof(cuda::KernelNodeParameters), "");

#define OWL_DRIVER(name, symbol, parameters) \\
    static_assert(std::is_same<Plain<decltype(&::symbol)>::type, cuda::Result (*) parameters>::value, #symbol);
namespace owl {
namespace cuda {
#include "_cuda/driver.def"
ROW
}
}
static_assert(cuda::kSuccess == CUDA_SUCCESS && cuda::kOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY, "");
static_assert(cuda::kNotReady == CUDA_ERROR_NOT_READY, "");
"""


def compile_rows(folder, row=""):
    handles = re.findall(r"^using (\w+) = struct (\w+)\*;", (CUDA / "driver.h").read_text(), re.MULTILINE)
    assert handles
    known = [f"template <> struct Plain<::{tag}*, false> {{ using type = cuda::{name}; }};" for name, tag in handles]
    source = folder / "rows.cpp"
    source.write_text(PROGRAM.replace("PLAIN", PLAIN).replace("HANDLES", "\n".join(known)).replace("ROW", row))
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    command = [*compiler, "-std=c++17", "-fsyntax-only", f"-I{ROOT / 'owl'}", f"-I{headers()}", str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_row_is_as_cuda_declares_it(tmp_path):
    done = compile_rows(tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "row",
    [
        "OWL_DRIVER(wrong, cuEventRecord, (Stream event, Event stream))",
        "OWL_DRIVER(wrong, cuMemAlloc_v2, (Address* address, unsigned bytes))",
        "OWL_DRIVER(wrong, cuCtxPopCurrent_v2, (Context context))",
        "OWL_DRIVER(wrong, cuGetErrorName, (Result error, char** name))",
        "OWL_DRIVER(wrong, cuNoSuchFunction, (int a))",
    ],
)
def test_a_wrong_row_is_seen(tmp_path, row):
    done = compile_rows(tmp_path, row)
    assert done.returncode != 0
    assert re.search(r"OWL_DRIVER\(wrong, (\w+)", row)[1] in done.stderr


def test_symbols_are_those_that_the_header_means():
    """Where cuda.h gives a name a version, the symbol without one is another, older function."""
    text = (headers() / "cuda.h").read_text()
    renamed = dict(re.findall(r"^\s*#define\s+(cu\w+)\s+(cu\w+_v\d+)\s*$", text, re.MULTILINE))
    rows = re.findall(r"^OWL_DRIVER\(\w+, (\w+),", (CUDA / "driver.def").read_text(), re.MULTILINE)
    assert rows
    assert {symbol: renamed[symbol] for symbol in rows if symbol in renamed} == {}
