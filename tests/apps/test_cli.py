"""The main job and the classic scripts as processes: what they print, how they end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import owl.apps.mnist
from owl.apps.mnist.checkpoint import load
from owl.apps.mnist.model import Perceptron
from tests.apps.conftest import TIMEOUT

MAIN = ("-m", "owl.apps.mnist")
SCRIPTS = Path(owl.apps.mnist.__file__).parent
REAL_DATA = os.environ.get("OWL_DATA", "")

# A test run in the background inherits an ignored SIGINT; the programs are to see it as from a terminal.
LAUNCH = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def accuracies(output: str) -> list[float]:
    """The test accuracies of the epochs, in percent."""
    return [float(found) for found in re.findall(r"^epoch .*test accuracy (\d+\.\d+)%", output, re.MULTILINE)]


# the main job


def test_it_learns_and_reports(run: Callable[..., subprocess.CompletedProcess[str]], idx_folder: Path) -> None:
    result = run(*MAIN, "--data", idx_folder, "--epochs", 8, "--batch-size", 50)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert f"{idx_folder}: 300 training images, 100 test images" in result.stdout
    assert len(accuracies(result.stdout)) == 8
    assert accuracies(result.stdout)[-1] > 95
    assert re.search(r"^epoch 8/8: test accuracy [\d.]+%, [\d,]+ images/s$", result.stdout, re.MULTILINE)
    assert re.search(r"^total time [\d.]+ s$", result.stdout, re.MULTILINE)


def test_the_seed_decides_the_result(
    run: Callable[..., subprocess.CompletedProcess[str]], idx_folder: Path, tmp_path: Path
) -> None:
    shapes = {name: shape[::-1] for name, shape in Perceptron.shapes.items()}
    weights = []
    for number, seed in enumerate((1, 1, 2)):
        path = tmp_path / f"{number}.safetensors"
        result = run(*MAIN, "mlp", "--seed", seed, "--epochs", 1, "--save", path, OWL_DATA=str(idx_folder))
        assert result.returncode == 0, result.stderr
        weights.append(load(path, "mlp", shapes))
    for name in shapes:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    assert (weights[0]["w1"] != weights[2]["w1"]).any()


def test_in_float64_it_learns_the_same_but_for_rounding(
    run: Callable[..., subprocess.CompletedProcess[str]], idx_folder: Path, tmp_path: Path
) -> None:
    shapes = {name: shape[::-1] for name, shape in Perceptron.shapes.items()}
    weights = {}
    for dtype in ("float32", "float64"):
        path = tmp_path / f"{dtype}.safetensors"
        result = run(*MAIN, "--data", idx_folder, "--epochs", 2, "--save", path, OWL_DTYPE=dtype)
        assert result.returncode == 0, result.stderr
        weights[dtype] = load(path, "mlp", shapes)
    for name in shapes:
        assert weights["float64"][name].dtype == np.float64
        np.testing.assert_allclose(weights["float32"][name], weights["float64"][name], rtol=0, atol=1e-5)
    assert run(*MAIN, "--data", idx_folder, "--epochs", 0, "--load", path).returncode == 0


def test_a_saved_net_goes_on_where_it_ended(
    run: Callable[..., subprocess.CompletedProcess[str]], idx_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    trained = run(*MAIN, "--data", idx_folder, "--epochs", 6, "--batch-size", 50, "--save", path)
    assert trained.returncode == 0, trained.stderr
    tested = run(*MAIN, "--data", idx_folder, "--epochs", 0, "--load", path)
    assert tested.returncode == 0, tested.stderr
    assert f"test accuracy {accuracies(trained.stdout)[-1]:.2f}%" in tested.stdout


@pytest.mark.parametrize("devices", ["cpu:0", "cpu:0,cpu:1", "cpu:0,cpu:1,cpu:2"])
def test_the_convolution_net_learns_on_any_number_of_devices(
    run: Callable[..., subprocess.CompletedProcess[str]], idx_folder: Path, devices: str
) -> None:
    result = run(*MAIN, "cnn", "--devices", devices, "--data", idx_folder, "--epochs", 6, "--batch-size", 50)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert accuracies(result.stdout)[-1] > 95


@pytest.mark.parametrize("model", ["mlp", "cnn", "lenet"])
def test_a_picture_is_drawn(
    run: Callable[..., subprocess.CompletedProcess[str]], idx_folder: Path, tmp_path: Path, model: str
) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "picture.png"
    result = run(*MAIN, model, "--data", idx_folder, "--epochs", 2, "--devices", "cpu:0,cpu:1", "--plot", path)
    assert result.returncode == 0, result.stderr
    assert f"drew {path}" in result.stdout
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width >= 1000
    assert height >= 700


def test_without_data_and_network_it_trains_on_digits(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    pytest.importorskip("sklearn")
    result = run(*MAIN, "--epochs", 6, "--batch-size", 64)
    assert result.returncode == 0, result.stderr
    assert "could not be downloaded" in result.stdout
    assert "digits" in result.stdout
    assert "not MNIST" in result.stdout
    assert accuracies(result.stdout)[-1] > 85


def test_the_net_with_recorded_gradients_passes_97_percent_on_digits(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    pytest.importorskip("sklearn")
    result = run(*MAIN, "lenet", "--epochs", 10)
    assert result.returncode == 0, result.stderr
    assert "not MNIST" in result.stdout
    assert accuracies(result.stdout)[-1] > 97


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--epochs", "-1"], "--epochs: '-1' is not an integer of at least 0"),
        (["--epochs", "many"], "--epochs: 'many' is not an integer"),
        (["--batch-size", "0"], "--batch-size: '0' is not an integer of at least 1"),
        (["--threads", "0"], "--threads: '0' is not"),
        (["--threads", "1000"], "--threads: [set_num_threads] between 1 and 64 threads, not 1000"),
        (["--lr", "nan"], "--lr: 'nan' is not a number above 0"),
        (["--lr", "-0.1"], "--lr"),
        (["--device", "tpu"], "--device: 'tpu' is not cpu or gpu:0"),
        (["--device", "gpu:x"], "--device: 'gpu:x' is not"),
        (["--devices", "cpu:0,tpu"], "--devices: 'tpu' is not cpu or gpu:0"),
        (["--devices", "cpu:0,cpu:0"], "--devices: 'cpu:0,cpu:0' names a device twice"),
        (["--device", "cpu", "--devices", "cpu:0,cpu:1"], "not allowed with"),
        (["--plot", "nowhere/picture.png"], "nowhere/picture.png: no folder nowhere"),
        (["--plot", "picture.txt"], "picture.txt: a picture is a .png, .pdf or .svg file"),
        (["no-such-net"], "no-such-net"),
        (["--no-such-option"], "--no-such-option"),
        (["--data", "nowhere"], "nowhere: no such file or folder"),
        (["--load", "nowhere.safetensors"], "nowhere.safetensors: "),
        (["--save", "nowhere/net.safetensors"], "no folder nowhere"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    run: Callable[..., subprocess.CompletedProcess[str]], arguments: list[str], reason: str
) -> None:
    result = run(*MAIN, *arguments)
    assert result.returncode == 2
    assert reason in result.stderr
    assert result.stderr.startswith("python -m owl.apps.mnist: error: ")
    assert result.stderr.count("\n") == 1


def test_a_truncated_checkpoint_is_refused_before_training(
    run: Callable[..., subprocess.CompletedProcess[str]], idx_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    assert run(*MAIN, "--data", idx_folder, "--epochs", 0, "--save", path).returncode == 0
    path.write_bytes(path.read_bytes()[:-1])
    result = run(*MAIN, "--data", idx_folder, "--load", path)
    assert result.returncode == 2
    assert f"{path}: truncated" in result.stderr
    assert "epoch" not in result.stdout


def test_a_gpu_is_used_or_its_absence_is_said(
    run: Callable[..., subprocess.CompletedProcess[str]], idx_folder: Path
) -> None:
    result = run(*MAIN, "--data", idx_folder, "--epochs", 1, "--device", "gpu:0")
    assert result.returncode in (0, 2)
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("python -m owl.apps.mnist: error: ") == (result.returncode == 2)


def test_help_names_options_and_sources(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = run(*MAIN, "--help")
    assert result.returncode == 0
    for word in ("mlp", "--device", "--epochs", "--batch-size", "--lr", "--seed", "--data", "--threads", "--save"):
        assert word in result.stdout
    assert "OWL_DATA" in result.stdout
    assert "OWL_MNIST_MIRRORS" in result.stdout


def test_ctrl_c_ends_it_with_the_accuracy_so_far(environment: dict[str, str], idx_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    arguments = [*MAIN, "--data", idx_folder, "--epochs", 10**6, "--save", path]
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert any(re.match("epoch +3/", line) for line in process.stdout)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert re.search(r"^interrupted, test accuracy so far \d+\.\d+%$", output, re.MULTILINE)
    assert errors == ""
    assert path.is_file()


def test_a_terminal_gets_a_bar(environment: dict[str, str], idx_folder: Path) -> None:
    pytest.importorskip("tqdm")
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))  # a new one has no width: no room for a bar
    os.set_blocking(parent, False)
    try:
        process = subprocess.Popen(
            [sys.executable, *MAIN, "--data", str(idx_folder), "--epochs", "2"],
            env=environment | {"TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=child,
            text=True,
        )
        output, _ = process.communicate(timeout=TIMEOUT)
        shown = os.read(parent, 1 << 16).decode(errors="replace")
    finally:
        os.close(parent)
        os.close(child)
    assert process.returncode == 0
    assert "batch/s" in shown
    assert len(accuracies(output)) == 2


def test_a_reader_that_leaves_makes_no_noise(environment: dict[str, str], idx_folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, *MAIN, "--data", str(idx_folder), "--epochs", "1000"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=TIMEOUT) == 1


PROGRAMS = ["mnist_mlp", "mnist_cnn", "mnist_cnn_2gpu", "mnist_async", "simple_mnist"]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("as_module", [True, False], ids=["module", "script"])
def test_programs_start_as_modules_and_as_scripts_and_explain_themselves(
    run: Callable[..., subprocess.CompletedProcess[str]], program: str, as_module: bool
) -> None:
    start = ["-m", f"owl.apps.mnist.{program}"] if as_module else [SCRIPTS / f"{program}.py"]
    result = run(*start, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: ")
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("program", "arguments", "reason"),
    [
        ("mnist_mlp", ["--epochs", "-1"], "--epochs: '-1' is not an integer of at least 0"),
        ("mnist_mlp", ["--batch", "0"], "--batch: '0' is not an integer of at least 1"),
        ("mnist_mlp", ["--hidden", "0"], "--hidden"),
        ("mnist_mlp", ["--lr", "nan"], "--lr: 'nan' is not a number above 0"),
        ("mnist_mlp", ["--data", "nowhere"], "mnist_mlp.py: error: nowhere.mat: no such file"),
        ("mnist_mlp", ["--gpu", "99"], "OWL_GPU_FALLBACK"),
        ("mnist_mlp", ["--gpu", "x"], "--gpu"),
        ("mnist_cnn", ["--mom", "-1"], "--mom: '-1' is not a number of at least 0"),
        ("mnist_cnn", ["--batch", "none"], "--batch"),
        ("mnist_cnn_2gpu", ["--data", "nowhere", "--cpu"], "nowhere.mat"),
        ("mnist_async", ["--heartbeat", "0"], "--heartbeat"),
        ("mnist_async", ["--data", "nowhere"], "nowhere"),
        ("simple_mnist", ["--epochs", "3"], "--epochs"),
    ],
)
def test_wrong_input_of_a_script_is_one_line_and_exit_code_2(
    run: Callable[..., subprocess.CompletedProcess[str]], program: str, arguments: list[str], reason: str
) -> None:
    result = run("-m", f"owl.apps.mnist.{program}", *arguments)
    assert result.returncode == 2, result.stderr
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.slow
@pytest.mark.skipif(not REAL_DATA, reason="OWL_DATA names no data")
def test_the_real_mnist_passes_97_percent(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = run(*MAIN, OWL_DATA=REAL_DATA)
    assert result.returncode == 0, result.stderr
    assert "60000 training images, 10000 test images" in result.stdout
    assert accuracies(result.stdout)[-1] > 97


@pytest.mark.long
@pytest.mark.skipif(not REAL_DATA, reason="OWL_DATA names no data")
@pytest.mark.parametrize("devices", ["cpu:0", "cpu:0,cpu:1"])
def test_the_convolution_net_passes_98_5_percent_in_5_epochs(
    run: Callable[..., subprocess.CompletedProcess[str]], devices: str
) -> None:
    result = run(*MAIN, "cnn", "--epochs", 5, "--devices", devices, OWL_DATA=REAL_DATA)
    assert result.returncode == 0, result.stderr
    assert accuracies(result.stdout)[-1] > 98.5


@pytest.mark.long
@pytest.mark.skipif(not REAL_DATA, reason="OWL_DATA names no data")
def test_the_net_with_recorded_gradients_passes_99_percent_in_10_epochs(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = run(*MAIN, "lenet", OWL_DATA=REAL_DATA)
    assert result.returncode == 0, result.stderr
    assert accuracies(result.stdout)[-1] >= 99


# the classic scripts, by path


@pytest.mark.parametrize("script", [("mnist_cnn.py",), ("mnist_cnn_2gpu.py", "--cpu")])
def test_the_convolution_scripts_learn(
    run: Callable[..., subprocess.CompletedProcess[str]], write_mat: Callable[..., Path], script: tuple[str, ...]
) -> None:
    name, *options = script
    result = run(SCRIPTS / name, *options, "--data", write_mat(), "--epochs", 6, "--batch", 50)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    found = re.findall(r"^epoch \d: test accuracy (\d\.\d{4})$", result.stdout, re.MULTILINE)
    assert len(found) == 6
    assert float(found[-1]) > 0.95


def test_the_simple_script_runs_in_the_folder_of_the_data(
    run: Callable[..., subprocess.CompletedProcess[str]], write_mat: Callable[..., Path]
) -> None:
    write_mat()
    result = run(SCRIPTS / "simple_mnist.py")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert len(re.findall(r"^epoch \d: test accuracy 0\.\d{4}$", result.stdout, re.MULTILINE)) == 10


def test_the_full_script_learns(
    run: Callable[..., subprocess.CompletedProcess[str]], write_mat: Callable[..., Path]
) -> None:
    result = run(SCRIPTS / "mnist_mlp.py", "--data", write_mat(), "--epochs", 20, "--batch", 15, "--lr", 0.2)
    assert result.returncode == 0, result.stderr
    found = re.findall(r"test accuracy (\d\.\d{4})$", result.stdout, re.MULTILINE)
    assert len(found) == 20
    assert float(found[-1]) > 0.95
    assert "batch 20: training accuracy" in result.stdout


def test_the_full_script_runs_on_a_gpu_or_its_stand_in(
    run: Callable[..., subprocess.CompletedProcess[str]], write_mat: Callable[..., Path]
) -> None:
    result = run(SCRIPTS / "mnist_mlp.py", "--data", write_mat(), "--epochs", 1, "--gpu", 0, OWL_GPU_FALLBACK="cpu")
    assert result.returncode == 0, result.stderr
    assert "test accuracy" in result.stdout


def test_the_full_script_has_help(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = run(SCRIPTS / "mnist_mlp.py", "--help")
    assert result.returncode == 0
    assert "--hidden" in result.stdout


@pytest.mark.long
@pytest.mark.skipif(not REAL_DATA, reason="OWL_DATA names no data")
def test_the_simple_script_ends_where_the_walkthrough_does(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = run(SCRIPTS / "simple_mnist.py", OWL_DATA=REAL_DATA)
    assert result.returncode == 0, result.stderr
    last = re.findall(r"^epoch 9: test accuracy (0\.\d{4})$", result.stdout, re.MULTILINE)
    assert 0.883 <= float(last[0]) <= 0.897
