"""owl is found from any folder, installed as a copy or editable, though a checkout is a folder called owl as well."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import owl._runtime

pytest.importorskip("Cython")
pytest.importorskip("setuptools", minversion="77")
ROOT = Path(__file__).resolve().parents[1]
GENERATED = sorted((ROOT / "build" / "native").glob("*-release/cython/_runtime.cpp"))
pytestmark = pytest.mark.skipif(not GENERATED, reason="owl was not built in this folder")

NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".venv*", "build", "dist", "*.so", "*.egg-info", "__pycache__"),
    *(".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache", ".nox"),
)

# Takes the place of the compiler: there is nothing to be learned from compiling everything once more.
COMPILER = """#!{python}
import shutil, sys
words = sys.argv[1:]
output = words[words.index("-o") + 1]
if output.endswith(".so"):
    shutil.copyfile({extension!r}, output)
else:
    open(output, "w").close()
if "-MF" in words:
    with open(words[words.index("-MF") + 1], "w") as file:
        file.write("object: " + words[words.index("-c") + 1])
"""

PROGRAM = """
import owl
import owl.apps.mnist.model
import owl.aio
assert owl.ones([2, 3]).to_numpy().sum() == 6
print(owl.__version__)
"""


@pytest.fixture(scope="module", params=["editable", "plain"])
def installed(request, tmp_path_factory):
    """The folder above a checkout called owl, and the interpreter that it is installed for."""
    above = tmp_path_factory.mktemp("above")
    checkout = above / "owl"
    shutil.copytree(ROOT, checkout, symlinks=True, ignore=NOT_COPIED)
    generated = checkout / GENERATED[0].relative_to(ROOT).parent
    generated.mkdir(parents=True)
    for name in ("_runtime.cpp", "_runtime.version"):
        shutil.copyfile(GENERATED[0].with_name(name), generated / name)
    compiler = above.parent / f"compiler-{request.param}"
    compiler.write_text(COMPILER.format(python=sys.executable, extension=owl._runtime.__file__))
    compiler.chmod(0o755)
    environment = above.parent / f"environment-{request.param}"
    venv.create(environment, with_pip=False, symlinks=True)
    paths = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", vars=paths))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python = environment / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index"]
    editable = ["-e"] if request.param == "editable" else []
    fake = dict.fromkeys(("CC", "CXX", "LDSHARED", "LDCXXSHARED"), str(compiler))
    run([*pip, "--no-deps", "--no-build-isolation", *editable, "."], checkout, {**clean(), **fake})
    return above, python


def clean():
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OWL_"))}


def run(command, cwd, env=None):
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env or clean(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("place", ["above", "empty", "checkout"])
def test_owl_is_found_from_any_folder(installed, tmp_path, place):
    above, python = installed
    folder = {"above": above, "empty": tmp_path, "checkout": above / "owl"}[place]
    script = folder / "a_first_script.py"
    script.write_text(PROGRAM)
    try:
        assert run([python, "-c", PROGRAM], folder).strip() == owl.__version__
        assert run([python, script.name], folder).strip() == owl.__version__
        assert run([python, script], tmp_path).strip() == owl.__version__
        assert "usage: python -m owl.apps.mnist" in run([python, "-m", "owl.apps.mnist", "--help"], folder)
    finally:
        script.unlink()


KERNEL_TEXTS = """
import hashlib
from owl._cuda import catalogue
texts = [catalogue.sources(program) for program in catalogue.programs()]
print(len(catalogue.KERNELS), len(texts), hashlib.sha256(repr(texts).encode()).hexdigest())
"""


def test_the_texts_of_cudas_kernels_are_installed(installed, tmp_path):
    _, python = installed
    here = subprocess.run(
        [sys.executable, "-c", KERNEL_TEXTS], capture_output=True, text=True, check=True, cwd=ROOT, env=clean()
    )
    assert run([python, "-c", KERNEL_TEXTS], tmp_path) == here.stdout


def test_what_is_installed_holds_no_other_package(installed, tmp_path):
    _, python = installed
    program = (
        "import importlib.util as u; print([n for n in ('apps', 'tests', 'benchmarks', 'setup') if u.find_spec(n)])"
    )
    assert run([python, "-c", program], tmp_path).strip() == "[]"
