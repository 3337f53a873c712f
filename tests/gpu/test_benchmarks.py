"""The benchmarks of GPUs run on the stand-in, with tiny sizes: what they print there are no figures."""

import os
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

pytestmark = pytest.mark.standin


def run(*arguments):
    environment = os.environ | {"OWL_CUDA_DRIVER": "standin", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks.gpu", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
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


def test_a_service():
    tiny = ["--awaits", 20, "--rounds", 2, "--seconds", 0.2, "--side", 64, "--batches", 6, "--batch", 32]
    said = run("service", *tiny)
    assert "of the longer one" in said
