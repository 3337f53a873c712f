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


# The library, its contestant, how a row begins, and how many rows arrays have: JAX has no call for a copy alone.
PEERS = [("torch", "eager", "| owl |", 5), ("jax", "jit", "| JAX, compiled |", 4)]


@pytest.mark.parametrize(("library", "contestant", "row", "rows"), PEERS)
@pytest.mark.parametrize(("net", "tf32"), [("perceptron", True), ("convolution", False)])
def test_nets_learn_what_a_peer_learns(net, tf32, library, contestant, row, rows):
    pytest.importorskip(library)
    tiny = ["--batch", 16, "--batches", 2, "--steps", 3, "--rounds", 1]
    said = run("nets", "--net", net, *tiny, "--only", "owl", contestant, *(["--tf32"] if tf32 else []))
    assert "the changes of all weights agree" in said
    assert row in said


@pytest.mark.parametrize(("library", "contestant", "row", "rows"), PEERS)
def test_arrays_have_the_numbers_of_a_peer(library, contestant, row, rows):
    pytest.importorskip(library)
    tiny = ["--elements", 5000, "--sides", 40, "--images", 2, "--rounds", 1, "--seconds", 0.01]
    said = run("arrays", *tiny, "--only", "owl", contestant)
    assert said.count(row) == rows


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
