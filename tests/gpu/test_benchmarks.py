"""The benchmarks of GPUs run on the stand-in, with tiny sizes: what they print there are no figures."""

import os
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

pytestmark = pytest.mark.standin


def start(command):
    environment = os.environ | {"OWL_CUDA_DRIVER": "standin", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def run(*arguments):
    done = start(["-m", "benchmarks.gpu", *map(str, arguments)])
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("net", "tf32"), [("perceptron", True), ("convolution", False)])
def test_nets_learn_what_pytorch_learns(net, tf32):
    pytest.importorskip("torch")
    tiny = ["--batch", 16, "--batches", 2, "--steps", 3, "--rounds", 1]
    said = run("nets", "--net", net, *tiny, "--only", "owl", "eager", *(["--tf32"] if tf32 else []))
    assert "the changes of all weights agree" in said
    assert "| owl |" in said


def test_arrays_have_the_numbers_of_pytorch():
    pytest.importorskip("torch")
    tiny = ["--elements", 5000, "--sides", 40, "--images", 2, "--rounds", 1, "--seconds", 0.01]
    said = run("arrays", *tiny, "--only", "owl", "eager")
    assert said.count("| owl |") == 5


@pytest.mark.parametrize(("net", "tf32"), [("perceptron", True), ("convolution", False)])
def test_nets_learn_what_jax_learns(net, tf32):
    pytest.importorskip("jax")
    tiny = ["--batch", 16, "--batches", 2, "--steps", 3, "--rounds", 1]
    said = run("nets", "--net", net, *tiny, "--only", "owl", "jit", *(["--tf32"] if tf32 else []))
    assert "the changes of all weights agree" in said
    assert "| JAX, compiled |" in said


def test_arrays_have_the_numbers_of_jax():
    pytest.importorskip("jax")
    tiny = ["--elements", 5000, "--sides", 40, "--images", 2, "--rounds", 1, "--seconds", 0.01]
    said = run("arrays", *tiny, "--only", "owl", "jit")
    assert said.count("| JAX, compiled |") == 4  # there is no call for a copy alone


WITHOUT = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name: {installed} if name.startswith("jax") else found(name)
sys.modules["jax"] = None
from benchmarks.gpu import arrays, nets
from benchmarks.gpu.jax_peers import with_jax
assert "jit" in nets.CONTESTANTS and "jit" in arrays.CONTESTANTS
print(with_jax(nets.CONTESTANTS, None))
with_jax(nets.CONTESTANTS, ["owl", "jit"])
"""


def test_without_jax():
    done = start(["-c", WITHOUT.format(installed=None)])
    assert "JAX is not installed" in done.stdout
    assert "['owl', 'graph', 'eager', 'compile']" in done.stdout
    assert (done.returncode, done.stderr) == (1, "JAX is not installed: pip install 'jax[cuda13]'\n")


def test_with_jax_for_cpus_alone():
    # It is left out, unless it is asked for.
    done = start(["-c", WITHOUT.format(installed="name == 'jax'")])
    assert (done.returncode, done.stderr) == (0, "")
    assert "installed without CUDA" in done.stdout
    assert "['owl', 'graph', 'eager', 'compile']" in done.stdout


def test_with_jax_on_gpus():
    done = start(["-c", WITHOUT.format(installed="True")])
    assert (done.returncode, done.stdout) == (0, "['owl', 'graph', 'eager', 'compile', 'jit']\n")


def test_a_service():
    tiny = ["--awaits", 20, "--rounds", 2, "--seconds", 0.2, "--side", 64, "--batches", 6, "--batch", 32]
    said = run("service", *tiny)
    assert "of the longer one" in said
