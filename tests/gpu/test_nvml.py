"""How many GPUs there are, and what is missing, by a library in NVML's place."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support import processes


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """A folder with a libnvidia-ml.so.1, and a package called cupy that must not be imported."""
    folder = tmp_path_factory.mktemp("nvml")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    source = Path(__file__).parent / "nvml.c"
    command = [*compiler, "-shared", "-fPIC", "-Wall", "-Werror", source, "-o", folder / "libnvidia-ml.so.1"]
    subprocess.run(command, check=True)
    (folder / "cupy.py").write_text("raise AssertionError('CuPy was imported')")
    return folder


def ask(expressions, libraries=None, **env):
    """What Python expressions about `nvml` are in a fresh process."""
    program = f"""
import ctypes, json, os, sys
from owl._cuda import nvml

def count(visible):
    os.environ["CUDA_VISIBLE_DEVICES"] = visible
    return nvml.gpu_count()

def fake():
    return ctypes.CDLL("libnvidia-ml.so.1").fake_open()

print(json.dumps([eval(text) for text in {expressions!r}]))
assert "libcuda.so" not in open("/proc/self/maps").read()
assert "cupy" not in sys.modules
"""
    clean = dict.fromkeys(("CUDA_VISIBLE_DEVICES", "OWL_CUDA_DRIVER", "OWL_STANDIN_DEVICES"))
    path = {"LD_LIBRARY_PATH": str(libraries)} if libraries else {}
    done = processes.run(program, **{**clean, **path, **env})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


VISIBLE = {
    "": 0,
    "0": 1,
    "0,1,2": 3,
    "2,0": 2,
    " 1 , 2 ": 2,
    "+1": 1,
    "1gpu,2": 2,
    "0,-1,1": 1,
    "-1": 0,
    "3": 0,
    "0,7,1": 1,
    "0,1,0": 0,
    "none": 0,
    "0,none,1": 1,
    "0,,1": 1,
    "GPU-aa11": 1,
    "GPU-b": 1,
    "GPU-aa": 0,
    "GPU-b,GPU-aa1": 2,
    "GPU-b,GPU-zz,GPU-aa1": 1,
    "GPU-b,GPU-bb33": 0,
    "GPU-b,2": 0,
    "GPU-b,0": 2,
    "MIG-1234": 1,
}


def test_cuda_visible_devices_is_read_as_cuda_does(libraries):
    told = ask([f"count({visible!r})" for visible in VISIBLE], libraries)
    assert dict(zip(VISIBLE, told)) == VISIBLE


def test_what_the_driver_says(libraries):
    asked = ["nvml.gpu_count()", "nvml.gpu_names()", "nvml.driver_version()", "nvml.cuda_version()", "fake()"]
    assert ask(asked, libraries) == [3, ["Fake 0", "Fake 1", "Fake 2"], "580.65.06", [13, 0], 0]
    assert ask(["nvml.gpu_names()"], libraries, CUDA_VISIBLE_DEVICES="2,1") == [["Fake 2", "Fake 1"]]
    assert ask(["nvml.gpu_names()"], libraries, FAKE_LOST="1") == [["Fake 0"]]
    assert ask(["nvml.major()"], libraries, FAKE_CUDA="12040") == [12]
    assert ask(["nvml.major()"], libraries, FAKE_CUDA="14020") == [13]


def test_without_a_driver_there_is_no_gpu(libraries):
    (empty := libraries / "empty").mkdir(exist_ok=True)
    # A library of this name that is none of NVML's hides a real one.
    subprocess.run(
        [*shlex.split(os.environ.get("CC", "cc")), "-shared", "-o", empty / "libnvidia-ml.so.1", "-x", "c", os.devnull],
        check=True,
    )
    asked = ["nvml.gpu_count()", "nvml.gpu_names()", "nvml.driver_version()", "nvml.cuda_version()", "nvml.missing()"]
    *nothing, missing = ask(asked, empty)
    assert nothing == [0, [], "", None]
    assert "install NVIDIA's driver" in missing


def test_a_driver_that_does_not_answer(libraries):
    count, missing = ask(["nvml.gpu_count()", "nvml.missing()"], libraries, FAKE_ERROR="18")
    assert count == 0
    assert "Driver/library version mismatch" in missing


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"FAKE_CUDA": "11040"}, "driver 580.65.06 is for CUDA 11.4: install one for CUDA 12 or newer"),
        ({"FAKE_GPUS": "0"}, "driver 580.65.06 finds no GPU"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES='' hides every GPU"),
    ],
)
def test_missing_says_what_to_do(libraries, env, told):
    assert told in ask(["nvml.missing()"], libraries, **env)[0]


@pytest.mark.parametrize("major", [12, 13])
def test_missing_names_the_packages_for_the_driver(libraries, major):
    told = ["setattr(nvml.importlib.util, 'find_spec', lambda name: None)", "nvml.missing()"]
    extra = f"pip install 'owl-runtime[cuda{major}]'"
    assert ask(told, libraries, FAKE_CUDA=f"{major}000")[1] == f"CuPy is not installed: {extra}"
    path = f"{processes.ROOT}:{libraries}"  # CuPy can be found, NVRTC cannot
    none = "setattr(nvml.nvrtc, '_places', lambda newest: [])"
    told = ask([none, "nvml.missing()"], libraries, FAKE_CUDA=f"{major}000", PYTHONPATH=path)[1]
    assert told == f"NVRTC of CUDA {major} is not found: {extra}"


def test_nothing_is_missing(libraries):
    there = "setattr(nvml.nvrtc, 'compiler', lambda newest: None)"
    path = f"{processes.ROOT}:{libraries}"
    assert ask([there, "nvml.missing()"], libraries, PYTHONPATH=path)[1] is None


def test_the_standin_has_as_many_gpus_as_it_is_told():
    asked = ["nvml.gpu_count()", "nvml.gpu_names()", "nvml.missing()"]
    assert ask(asked, OWL_CUDA_DRIVER="standin") == [1, ["stand-in"], None]
    assert ask(asked, OWL_CUDA_DRIVER="standin", OWL_STANDIN_DEVICES="2") == [2, ["stand-in"] * 2, None]
    with pytest.raises(AssertionError, match="OWL_STANDIN_DEVICES is a whole number above 0, not 'two'"):
        ask(asked, OWL_CUDA_DRIVER="standin", OWL_STANDIN_DEVICES="two")
