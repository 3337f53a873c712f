"""Where the data comes from: a path the user names, the cache, a download, or scikit-learn's digits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from owl import _cache
from owl.apps.mnist import idx
from owl.apps.mnist.dataset import Dataset
from owl.apps.mnist.digits import load_digits
from owl.apps.mnist.download import SHA256, DownloadError, download
from owl.apps.mnist.errors import DataError
from owl.apps.mnist.mat import read_mat

MAT_NAME = "mnist_all.mat"
DATA_VARIABLE = "OWL_DATA"


def load(path: str | Path | None = None, say: Callable[[str], None] = print) -> Dataset:
    """Load MNIST from ``path``, else from ``OWL_DATA``, the cache or the network, else scikit-learn's digits.

    A path that is named and does not hold the data raises DataError: nothing else is taken in its place. ``say`` gets a
    line for each download and the reason when the digits stand in.
    """
    named = path or os.environ.get(DATA_VARIABLE)
    if named:
        return read_path(Path(named).expanduser())
    folder = cache_folder()
    cached = read_cache(folder)
    if cached is not None:
        return cached
    try:
        download(folder, say)
    except DownloadError as error:
        say(f"MNIST could not be downloaded: {error}")
        return load_digits()
    cached = read_cache(folder)
    if cached is None:
        raise DataError(f"{folder}: the files changed while they were read")
    return cached


def read_path(path: Path) -> Dataset:
    """Read a Matlab file, or a folder that holds the four idx files or ``mnist_all.mat``."""
    if path.is_file():
        return read_mat(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder")
    files = {name: idx.find(path, name) for name in idx.NAMES}
    missing = [name for name, file in files.items() if file is None]
    if missing and (path / MAT_NAME).is_file():
        return read_mat(path / MAT_NAME)
    if missing:
        raise DataError(f"{path}: neither {MAT_NAME} nor all idx files (missing: {', '.join(missing)})")
    train, test = (
        idx.read_split(*(file for name in pair if (file := files[name]) is not None)) for pair in idx.FILES.values()
    )
    return Dataset(train, test, f"MNIST, {path}")


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/owl/mnist``."""
    return _cache.cache_folder("mnist")


def read_cache(folder: Path) -> Dataset | None:
    """The data set in the cache, or None where a file is missing or is not, byte for byte, the published one."""
    arrays = {}
    for name, digest in SHA256.items():
        try:
            content = (folder / name).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content).hexdigest() != digest:
            return None
        arrays[name] = idx.parse(content, str(folder / name))
    train, test = (
        idx.build_split(arrays[images], arrays[labels], str(folder / images)) for images, labels in idx.FILES.values()
    )
    return Dataset(train, test, f"MNIST, {folder}")
