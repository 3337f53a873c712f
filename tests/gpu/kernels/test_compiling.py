"""What NVIDIA's compiler makes of the kernels, for each architecture that owl is for."""

import re
import shutil
import subprocess

import pytest

from owl._cuda.catalogue import sources
from tests.gpu.kernels.library import ROOT, catalogue
from tests.support import scripts

KERNELS = sorted((ROOT / "owl" / "_cuda" / "kernels").glob("*.cu"))
ARCHITECTURES = [75, 80, 90, 100, 120]
MOST_REGISTERS = 96
# A thread has its part of a tile's sums, and what it fetches next, in registers.
MOST_REGISTERS_OF = {"conv": 128, "conv_filter": 128, "conv_tf32": 128, "gemm": 128, "gemm_program": 128}
MOST_SHARED_BYTES = 32 << 10

needs_nvcc = pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc is not installed")


@pytest.fixture(scope="module")
def table():
    """scripts/kernel-table as a module."""
    with pytest.MonkeyPatch.context() as patch:
        return scripts.load("kernel-table", patch)


def rows_of_the_page():
    """Of the table in docs/devices.md: the cells by kernel, and the head as one of them."""
    lines = (ROOT / "docs" / "devices.md").read_text().partition("| kernel | variants")[2].partition("\n\n")[0]
    rows = ["| kernel | variants" + lines.splitlines()[0], *lines.splitlines()[2:]]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)}


def nvcc(source, target, *options):
    command = ["nvcc", "-std=c++17", f"-I{ROOT / 'owl'}", f"-I{ROOT}", *options, str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@needs_nvcc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", KERNELS, ids=lambda path: path.stem)
def test_kernels_keep_within_their_budgets(source, architecture, table, tmp_path):
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
    if "release 13.0," in subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout:
        page = rows_of_the_page()
        column = page["kernel"].index(f"sm_{architecture}")
        for kernel, (taken, _) in table.usage(told).items():
            least, _, most = page[table.family(kernel)][column].partition(",")[0].partition("-")
            assert int(least) <= taken <= int(most or least), f"{kernel}: run scripts/kernel-table"


def test_the_page_has_every_kernel(table):
    rows = rows_of_the_page()
    assert rows.pop("kernel")[3:] == [f"sm_{number}" for number in table.ARCHITECTURES]
    families = [table.family(kernel) for kernel in catalogue()]
    assert {name: int(cells[0]) for name, cells in rows.items()} == {name: families.count(name) for name in families}


@pytest.mark.parametrize(
    ("architecture", "threads", "registers", "shared", "share"),
    [
        (90, 1024, 32, 0, 1.0),  # 64 warps
        (90, 256, 33, 0, 6 * 8 / 64),  # 40 registers a thread: 6 blocks of 8 warps
        (80, 128, 64, 48 << 10, 3 * 4 / 64),  # three blocks' 49 KiB in 164
        (75, 32, 16, 0, 16 / 32),  # no more than 16 blocks
        (120, 64, 255, 0, 4 * 2 / 48),
    ],
)
def test_occupancy_by_hand(table, architecture, threads, registers, shared, share):
    assert table.ARCHITECTURES[architecture].occupancy(threads, registers, shared) == share


@needs_nvcc
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
    adds = any(name.startswith("_cpu/kernels/") for name in included)  # that is where fma() is
    assert bool(fused["ours"]) == (adds and "mma.sync" not in texts["ours"])
    if "_cpu/kernels/arithmetic.h" in included:  # the CPU's mathematics
        assert fused["ours"] < fused["contracted"]
    else:  # nothing but copies, or sums whose every step is written as one
        assert fused["ours"] <= fused["contracted"]


@needs_nvcc
def test_products_load_16_bytes_at_once(tmp_path):
    nvcc(ROOT / "owl" / "_cuda" / "kernels" / "gemm.cu", tmp_path / "out.ptx", "--fmad=false", "-arch=sm_80", "--ptx")
    kernels = (tmp_path / "out.ptx").read_text().split(".entry ")[1:]
    assert len(kernels) == 4
    for text in kernels:
        assert ("ld.global.v4.f32" if text.startswith("gemm_f32") else "ld.global.v2.f64") in text


@needs_nvcc
@pytest.mark.parametrize(("architecture", "rounded"), [(75, False), (80, True), (120, True)])
def test_convolutions_use_tensor_cores_where_there_are_any(architecture, rounded, tmp_path):
    source, options = ROOT / "owl" / "_cuda" / "kernels" / "conv_tf32.cu", ("--fmad=false", f"-arch=sm_{architecture}")
    nvcc(source, tmp_path / "out.ptx", *options, "--ptx")
    kernels = (tmp_path / "out.ptx").read_text().split(".entry ")[1:]
    assert sorted(text.partition("(")[0] for text in kernels) == ["conv_pool_tf32", "conv_tf32"]
    for text in kernels:
        assert text.count("mma.sync.aligned.m16n8k8") == 2 * 2 * 4 * rounded  # steps of a panel, a thread's fragments
        assert text.count("cvt.rna.tf32.f32") == 2 * (8 + 8) * rounded  # of the first panel and of the others
