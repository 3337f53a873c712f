"""A small data set of MNIST's form, and writers of its files."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from owl.apps.mnist import idx
from owl.apps.mnist.dataset import Dataset, Split

TIMEOUT = 120


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of the processes: nothing named, a cache of its own, mirrors that do not answer."""
    kept = {key: value for key, value in os.environ.items() if key not in ("OWL_DATA", "OWL_GPU_FALLBACK")}
    return {
        **kept,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "OWL_MNIST_MIRRORS": "http://127.0.0.1:9/",
        "NO_PROXY": "*",
    }


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in an empty folder with these arguments, after changes of the environment."""

    def start(*arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path,
            env=environment | changes,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    return start


def make_split(rng: np.random.Generator, each: int) -> Split:
    """``each`` noisy images of every digit, in the order of the digits: a bright band whose height is the digit."""
    labels = np.repeat(np.arange(10, dtype=np.uint8), each)
    images = rng.integers(0, 60, (len(labels), 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels):
        image[2 * label + 4 : 2 * label + 7] += 150
    return Split(images.reshape(-1, 784), labels)


@pytest.fixture(scope="session")
def small() -> Dataset:
    """300 training and 100 test images that a perceptron learns in a few epochs."""
    rng = np.random.default_rng(7)
    return Dataset(make_split(rng, 30), make_split(rng, 10), "small")


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """An array in the idx format."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(scope="session")
def idx_contents(small: Dataset) -> dict[str, bytes]:
    """The four idx files by name."""
    contents = {}
    for split, (images, labels) in zip((small.train, small.test), idx.FILES.values()):
        contents[images] = idx_bytes(split.images.reshape(-1, 28, 28))
        contents[labels] = idx_bytes(split.labels)
    return contents


@pytest.fixture
def idx_folder(tmp_path: Path, idx_contents: dict[str, bytes]) -> Path:
    """A folder of the four gzipped idx files."""
    folder = tmp_path / "idx"
    folder.mkdir()
    for name, content in idx_contents.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    return folder


def mat_variables(dataset: Dataset) -> dict[str, NDArray[np.uint8]]:
    """The variables of ``mnist_all.mat``."""
    return {
        f"{prefix}{digit}": split.images[split.labels == digit]
        for prefix, split in (("train", dataset.train), ("test", dataset.test))
        for digit in range(10)
    }


@pytest.fixture(params=[True, False], ids=["compressed", "plain"])
def mat_file(request: pytest.FixtureRequest, tmp_path: Path, small: Dataset) -> Path:
    """An ``mnist_all.mat``."""
    path = tmp_path / "mnist_all.mat"
    savemat(path, mat_variables(small), do_compression=request.param)
    return path


@pytest.fixture
def write_mat(tmp_path: Path, small: Dataset) -> Callable[..., Path]:
    """Write an ``mnist_all.mat`` with some variables replaced, or left out where the new value is None."""

    def write(**changes: object) -> Path:
        variables = {key: value for key, value in {**mat_variables(small), **changes}.items() if value is not None}
        path = tmp_path / "mnist_all.mat"
        savemat(path, variables, do_compression=True)
        return path

    return write
