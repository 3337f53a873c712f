"""Mini-batches for the classic scripts.

A classic script that lies in this folder may import this file as ``mnist_io``, so its imports are absolute.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from owl import OwlValueError
from owl.apps.mnist import data
from owl.apps.mnist.dataset import Batch, Dataset, to_batch
from owl.apps.mnist.errors import DataError
from owl.apps.mnist.mat import read_mat


def load_mb_from_mat(mat_file: str | os.PathLike[str], mb_size: int) -> tuple[list[Batch], Batch]:
    """Load MNIST as a shuffled list of ``(data, label)`` mini-batches and the test pair ``(data, label)``.

    ``data`` is float32 ``[n, 784]`` in 0..1 (the grey divided by 256), ``label`` one-hot float32 ``[n, 10]``; the last
    batch is short. The name may lack ``.mat``. ``mnist_all`` without a folder, where the working folder has no such
    file, stands for the data that ``python -m owl.apps.mnist`` uses: ``OWL_DATA``, the cache, a download. NumPy's
    global random state decides the order. Raises DataError, a ValueError, naming file and reason.
    """
    if mb_size < 1:
        raise OwlValueError(f"load_mb_from_mat: mb_size must be at least 1, got {mb_size}")
    dataset = _load(Path(mat_file))
    train = dataset.train
    order = np.random.permutation(len(train))  # noqa: NPY002 (classic scripts call np.random.seed)
    starts = range(0, len(train), mb_size)
    chosen = (order[start : start + mb_size] for start in starts)
    return [to_batch(train.images[rows], train.labels[rows]) for rows in chosen], to_batch(
        dataset.test.images, dataset.test.labels
    )


def _load(path: Path) -> Dataset:
    with_suffix = path.with_name(path.name + ".mat") if path.suffix != ".mat" else path
    for candidate in (path, with_suffix):
        if candidate.is_file():
            return read_mat(candidate)
    if str(with_suffix) == data.MAT_NAME:
        dataset = data.load(say=_say)
        _say(f"no {data.MAT_NAME} in this folder, using {dataset.source}")
        return dataset
    raise DataError(f"{with_suffix}: no such file")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
