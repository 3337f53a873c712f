"""scripts/gpu-facts and scripts/gpu-check, as far as they go without a GPU."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from owl._cuda import nvrtc
from tests.gpu.test_driver_table import headers
from tests.support import scripts
from tests.support.scripts import SCRIPTS

ROOT = Path(__file__).resolve().parents[2]


def run(name, *arguments, **env):
    hidden = {"CUDA_VISIBLE_DEVICES": "", **env}
    return subprocess.run(
        [sys.executable, SCRIPTS / name, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **hidden},
        check=False,
    )


def test_facts_say_that_there_is_no_gpu():
    done = run("gpu-facts")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("gpu-facts: no GPU can be measured: ")
    assert len(done.stderr.splitlines()) == 1


def has_compiler():
    try:
        return bool(shutil.which("nvcc") or nvrtc.compiler())
    except RuntimeError:
        return False


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A folder with a libcuda.so.1 that does nothing."""
    if not headers() or not has_compiler():
        pytest.skip("CUDA's headers, or NVRTC and nvcc, are not installed")
    folder = tmp_path_factory.mktemp("driver")
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    source = Path(__file__).parent / "fake_driver.cpp"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", f"-I{headers()}"]
    subprocess.run([*compiler, *flags, source, "-o", folder / "libcuda.so.1"], check=True)
    return folder


@pytest.mark.standin
def test_facts_are_a_table(driver):
    done = run("gpu-facts", LD_LIBRARY_PATH=str(driver), FAKE_SLOW="1")
    assert done.returncode == 2, done.stderr  # cuEventQuery of a passed event says that it is not ready
    assert "| calls: cuEventQuery: CUDA_ERROR_FAKE (600) | failed | |" in done.stdout
    done = run("gpu-facts", LD_LIBRARY_PATH=str(driver))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    about, _, table = done.stdout.partition("\n\n")
    assert "Fake, compute capability 9.0, 80 GiB" in about
    rows = [line.strip("|").split("|") for line in table.splitlines()]
    assert all(len(row) == 3 for row in rows)
    assert all(float(row[1]) >= 0 for row in rows[2:])
    told = " ".join(row[0] for row in rows)
    for what in (
        "3536 bytes",
        "cuEventRecord",
        "blocked",
        "cuMemAlloc, 4 KiB",
        "cuCtxPush",
        "pageable, 64 MiB",
        "Graph",
    ):
        assert what in told


def test_check_writes_its_report_without_a_gpu(tmp_path):
    done = run("gpu-check", str(tmp_path / "new" / "folder"))
    assert done.returncode == 1
    assert "gpu-check: no GPU can be used: " in done.stderr
    report = (tmp_path / "new" / "folder" / "gpu-report.md").read_text()
    assert "**No GPU can be used: " in report
    assert "| versions | passed |" in report
    for stage in ("facts", "build", "libraries", "suite", "memcheck"):
        assert f"| {stage} | skipped: no GPU | 0.0 |" in report


@pytest.fixture
def check(monkeypatch):
    """scripts/gpu-check as a module, for a machine that has a GPU."""
    module = scripts.load("gpu-check", monkeypatch)
    monkeypatch.setattr(module, "gpu_elsewhere", lambda: "")
    return module


def test_stages_run_one_after_the_other_and_each_ends(check, tmp_path, monkeypatch, capsys):
    def python(text):
        return [sys.executable, "-c", text]

    seen = f"assert '| fails | failed (3) |' in open({str(tmp_path / 'gpu-report.md')!r}).read()"
    made = [
        check.Stage("fails", 60, python("print('bad news'); raise SystemExit(3)")),
        check.Stage("sees the report", 60, python(seen)),
        check.Stage("hangs", 0.5, ["sh", "-c", "sleep 1000 & sleep 1000"]),
        check.Stage("lacks", 60, python("1 / 0"), check.without("no_such_module", "os")),
        check.Stage("talks", 60, python("for n in range(500): print('line', n)")),
    ]
    monkeypatch.setattr(check, "stages", lambda folder, wheels: made)
    assert check.check(tmp_path, None) == 1
    results = [stage.result for stage in made]
    assert results == ["failed (3)", "passed", "cut off after 0 s", "skipped: not installed: no_such_module", "passed"]
    assert made[2].took < 30
    report = (tmp_path / "gpu-report.md").read_text()
    assert "bad news" in report
    assert "(440 lines before)\nline 440\n" in report
    assert len((tmp_path / "talks.log").read_text().splitlines()) == 500
    assert "hangs: cut off" in capsys.readouterr().out


def test_all_that_passes_or_is_skipped_is_a_success(check, tmp_path, monkeypatch):
    made = [check.Stage("passes", 60, ["true"]), check.Stage("lacks", 60, ["false"], lambda: "none here")]
    monkeypatch.setattr(check, "stages", lambda folder, wheels: made)
    assert check.check(tmp_path, None) == 0


def test_stages_name_what_is_there(check, tmp_path):
    made = {stage.name: stage for stage in check.stages(tmp_path, tmp_path / "wheels")}
    assert list(made)[:3] == ["versions", "packages", "facts"]
    assert made["libraries"].skip() == ""
    assert made["facts"].skip() == ""
