"""The MNIST programs on GPUs: the weights of a CPU, and where a sum has an order of its own, its bound."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.agreement import same_on_a_gpu
from tests.apps.conftest import mat_variables, small  # noqa: F401
from tests.support.processes import ROOT

HERE = Path(__file__).parent
SCRIPTS = ROOT / "apps" / "mnist"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Runs Python where no data and no network can be found; what it printed."""

    def start(*arguments: object, **changes: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OWL_")}
        environment |= {"PYTHONPATH": str(ROOT), "OWL_MNIST_MIRRORS": "http://127.0.0.1:9/", "OWL_DATA": ""}
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path,
            env=environment | {"OWL_CUDA_DRIVER": "standin"} | changes,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return start


@pytest.mark.parametrize(
    ("first", "second"),
    [(["--device", "cpu"], ["--device", "gpu:0"]), (["--devices", "cpu:0,cpu:1"], ["--devices", "gpu:0,gpu:1"])],
)
def test_an_epoch_ends_with_the_cpus_weights(run, tmp_path, first, second):
    pytest.importorskip("sklearn")
    found = []
    for number, device in enumerate((first, second)):
        file = tmp_path / f"{number}.safetensors"
        cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")} if "cpu" in device[1] else {}
        said = run("-m", "owl.apps.mnist", *device, "--epochs", 1, "--save", file, OWL_STANDIN_DEVICES="2", **cache)
        assert "digits" in said
        found.append(load_file(file))
    assert len(found[0]) == 4
    assert found[0].keys() == found[1].keys()
    for name, weights in found[0].items():
        same_on_a_gpu(weights, found[1][name])


def test_a_step_of_the_convolution_net(run):
    names = run(HERE / "net_step.py", OWL_WINOGRAD="0")
    assert names == "['conv1 bias_grad', 'conv1 weight_grad', 'conv2 bias_grad', 'conv2 weight_grad']\n"


@pytest.mark.parametrize("gpus", [1, 2])
def test_the_script_for_two_gpus_learns(run, small, tmp_path, gpus):  # noqa: F811
    from scipy.io import savemat

    savemat(tmp_path / "mnist_all.mat", mat_variables(small))
    said = run(SCRIPTS / "mnist_cnn_2gpu.py", "--epochs", 4, "--batch", 50, OWL_STANDIN_DEVICES=str(gpus))
    accuracies = [float(line.split()[-1]) for line in said.splitlines() if "test accuracy" in line]
    assert len(accuracies) == 4
    assert accuracies[-1] > 0.9
