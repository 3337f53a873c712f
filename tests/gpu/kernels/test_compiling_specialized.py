"""What NVIDIA's compiler makes of kernels for single programs, for each architecture that owl is for."""

import re

import pytest

from owl._cuda import catalogue, specialized
from tests.gpu.kernels.specializing import Collector
from tests.gpu.kernels.test_compiling import ARCHITECTURES, needs_nvcc, nvcc
from tests.gpu.kernels.test_specialized import made

NAMES = [
    "all operations float64",
    "777 elements float32",
    "float64 into float32",
    "spread float64",
    "sums over 5 columns float32",
    "random with sums 1",
]
MOST_REGISTERS = {"all operations float64": 168, "random with sums 1": 128}  # many values live at once
SIMPLE = "777 elements float32"


def text_of(name):
    collector = Collector()
    made(name).run(collector)
    (program,) = collector.programs
    return specialized.text(program)


@needs_nvcc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", NAMES)
def test_registers_and_no_spills(name, architecture, tmp_path):
    source = tmp_path / "specialized.cu"
    source.write_text(text_of(name))
    told = nvcc(source, tmp_path / "out.cubin", "--fmad=false", f"-arch=sm_{architecture}", "-Xptxas", "-v", "--cubin")
    assert "warning" not in told
    assert re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", told) == [
        ("0", "0", "0")
    ]
    (registers,) = re.findall(r"Used (\d+) registers", told)
    assert int(registers) <= MOST_REGISTERS.get(name, 64)
    assert "bytes smem" not in told


@needs_nvcc
def test_nothing_is_contracted_or_flushed(tmp_path):
    source, target = tmp_path / "specialized.cu", tmp_path / "out.ptx"
    source.write_text(text_of(SIMPLE))
    texts = {}
    for option in ("--fmad=false", "--fmad=true"):
        nvcc(source, target, option, "-arch=sm_80", "--ptx")
        texts[option] = target.read_text()
    assert ".ftz" not in texts["--fmad=false"]
    assert not re.findall(r"\bfma\.", texts["--fmad=false"])  # the program has none
    assert re.findall(r"\bfma\.", texts["--fmad=true"])


@needs_nvcc
def test_four_floats_are_one_load(tmp_path):
    source, target = tmp_path / "specialized.cu", tmp_path / "out.ptx"
    source.write_text(text_of(SIMPLE))
    nvcc(source, target, "--fmad=false", "-arch=sm_80", "--ptx")
    text = target.read_text()
    assert len(re.findall(r"ld\.global\.v4\.f32", text)) == 2
    assert len(re.findall(r"st\.global\.v4\.f32", text)) == 2


def test_texts_are_whole_for_nvrtc():
    # NVRTC knows headers by their places under owl/ alone.
    texts = catalogue.sources_of("specialized_f32.cu", text_of(SIMPLE))
    assert next(iter(texts)) == "specialized_f32.cu"
    for name, text in texts.items():
        assert set(re.findall(r'#include "(.*)"', text)) <= texts.keys(), name
