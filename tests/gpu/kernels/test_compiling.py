"""What NVIDIA's compiler makes of the kernels, for each architecture that owl is for."""

import re
import shutil
import subprocess

import pytest

from owl._cuda.catalogue import sources
from tests.gpu.kernels.library import ROOT, catalogue

KERNELS = sorted((ROOT / "owl" / "_cuda" / "kernels").glob("*.cu"))
# One of them beside the other tests, the rest with those that take longer.
ARCHITECTURES = [90, *(pytest.param(number, marks=pytest.mark.standin) for number in (75, 80, 100, 120))]
MOST_REGISTERS = 96
# A thread has its part of a tile's sums, and what it fetches next, in registers.
MOST_REGISTERS_OF = {"conv": 128, "conv_filter": 128, "gemm": 128, "gemm_program": 128}
MOST_SHARED_BYTES = 32 << 10

pytestmark = pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc is not installed")


def nvcc(source, target, *options):
    command = ["nvcc", "-std=c++17", f"-I{ROOT / 'owl'}", f"-I{ROOT}", *options, str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", KERNELS, ids=lambda path: path.stem)
def test_kernels_keep_within_their_budgets(source, architecture, tmp_path):
    told = nvcc(source, tmp_path / "out.cubin", "--fmad=false", f"-arch=sm_{architecture}", "-Xptxas", "-v", "--cubin")
    assert "warning" not in told
    kernels = re.findall(r"Compiling entry function '(\w+)'", told)
    assert kernels
    assert set(kernels) <= set(catalogue())
    assert re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", told) == [
        ("0", "0", "0")
    ] * len(kernels)
    registers = [int(count) for count in re.findall(r"Used (\d+) registers", told)]
    assert len(registers) == len(kernels)
    assert max(registers) <= MOST_REGISTERS_OF.get(source.stem, MOST_REGISTERS)
    assert max(map(int, re.findall(r"(\d+) bytes smem", told)), default=0) <= MOST_SHARED_BYTES


@pytest.mark.parametrize("source", KERNELS, ids=lambda path: path.stem)
def test_nothing_is_contracted_or_flushed(source, tmp_path):
    texts = {}
    for name, option in (("ours", "--fmad=false"), ("contracted", "--fmad=true")):
        nvcc(source, tmp_path / "out.ptx", option, "-arch=sm_80", "--ptx")
        texts[name] = (tmp_path / "out.ptx").read_text()
    assert ".ftz" not in texts["ours"]
    assert "approx" not in texts["ours"]
    fused = {name: len(re.findall(r"\bfma\.rn", text)) for name, text in texts.items()}
    included = sources(source)
    assert bool(fused["ours"]) == any(name.startswith("_cpu/kernels/") for name in included)  # that is where fma() is
    if "_cpu/kernels/arithmetic.h" in included:  # the CPU's mathematics
        assert fused["ours"] < fused["contracted"]
    else:  # nothing but copies, or sums whose every step is written as one
        assert fused["ours"] <= fused["contracted"]
