"""The rows of blas.def and the numbers of blas.h against cuBLAS's own header and library, where these are there."""

import importlib.util
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.gpu.test_driver_table import PLAIN, headers

ROOT = Path(__file__).resolve().parents[2]
ROWS = (ROOT / "owl" / "_cuda" / "blas.def").read_text()


def packages():
    """The folders of NVIDIA's wheels."""
    found = importlib.util.find_spec("nvidia")
    return [
        path for folder in (found.submodule_search_locations or () if found else ()) for path in Path(folder).glob("*")
    ]


def first(places):
    return next((place for place in places if place.exists()), None)


HEADER = first(
    [*(path / "include" / "cublas_api.h" for path in packages()), Path("/usr/local/cuda/include/cublas_api.h")]
)
LIBRARY = first([path / "lib" / f"libcublas.so.{major}" for path in packages() for major in (13, 12)])

PROGRAM = """
#include <cuda.h>
#include <cublas_api.h>
#include <type_traits>
#include "_cuda/blas.h"
namespace cuda = owl::cuda;

PLAIN
template <> struct Plain<::CUstream_st*, false> { using type = cuda::Stream; };
template <> struct Plain<::cublasContext*, false> { using type = cuda::BlasHandle; };

// Of the functions with this name in C++ the one that the library has.
using GemmEx = cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                                  const void*, cudaDataType, int, const void*, cudaDataType, int, const void*, void*,
                                  cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);
GemmEx declared(GemmEx function);
template <class F>
F declared(F function);

#define OWL_BLAS(result, name, symbol, parameters) \\
    static_assert(std::is_same<Plain<decltype(declared(&::symbol))>::type, result (*) parameters>::value, #symbol);
namespace owl {
namespace cuda {
#include "_cuda/blas.def"
ROW
}
}
static_assert(cuda::kSuccess == CUBLAS_STATUS_SUCCESS, "");
static_assert(cuda::kBlasFloat == CUDA_R_32F && cuda::kBlasDouble == CUDA_R_64F, "");
static_assert(cuda::kBlasCompute32 == CUBLAS_COMPUTE_32F && cuda::kBlasCompute64 == CUBLAS_COMPUTE_64F, "");
static_assert(cuda::kBlasComputeTf32 == CUBLAS_COMPUTE_32F_FAST_TF32, "");
static_assert(cuda::kBlasDefaultAlgorithm == CUBLAS_GEMM_DEFAULT, "");
static_assert(CUBLAS_OP_N == 0 && CUBLAS_OP_T == 1, "flags");
"""


def compile_rows(folder, row=""):
    source = folder / "rows.cpp"
    source.write_text(PROGRAM.replace("PLAIN", PLAIN).replace("ROW", row))
    places = [f"-I{place}" for place in (ROOT / "owl", headers(), HEADER.parent)]
    command = [*shlex.split(os.environ.get("CXX", "g++")), "-std=c++17", "-fsyntax-only", *places, str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


with_headers = pytest.mark.skipif(not (HEADER and headers()), reason="the headers of CUDA and cuBLAS are not installed")


@with_headers
def test_every_row_is_as_cublas_declares_it(tmp_path):
    done = compile_rows(tmp_path)
    assert done.returncode == 0, done.stderr


@with_headers
@pytest.mark.parametrize(
    "row",
    [
        "OWL_BLAS(BlasStatus, wrong, cublasSetStream_v2, (Stream stream, BlasHandle handle))",
        "OWL_BLAS(BlasStatus, wrong, cublasSetWorkspace_v2, (BlasHandle handle, void* workspace, unsigned bytes))",
        "OWL_BLAS(char*, wrong, cublasGetStatusName, (BlasStatus status))",
        "OWL_BLAS(BlasStatus, wrong, cublasNoSuchFunction, (int a))",
    ],
)
def test_a_wrong_row_is_seen(tmp_path, row):
    done = compile_rows(tmp_path, row)
    assert done.returncode != 0
    assert re.search(r"wrong, (\w+)", row)[1] in done.stderr


@pytest.mark.skipif(not LIBRARY, reason="cuBLAS is not installed")
def test_the_library_has_every_symbol():
    # Read, not opened: it needs no driver for that.
    symbols = re.findall(r"^OWL_BLAS\([^,]+, \w+, (\w+),", ROWS, re.MULTILINE)
    assert len(symbols) == 6
    names = LIBRARY.read_bytes()
    assert [symbol for symbol in symbols if f"\0{symbol}\0".encode() not in names] == []
